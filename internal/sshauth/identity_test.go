package sshauth

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestKeygenIdentities reads what ssh-keygen writes in each of its forms.
func TestKeygenIdentities(t *testing.T) {
	t.Parallel()
	sshtest.Program(t, "ssh-keygen")
	dir := t.TempDir()
	for _, test := range []struct {
		name   string
		args   []string
		hidden bool // the file does not show its public key while encrypted
	}{
		{name: "ed25519", args: []string{"-t", "ed25519"}},
		{name: "ecdsa", args: []string{"-t", "ecdsa", "-b", "384"}},
		{name: "rsa", args: []string{"-t", "rsa", "-b", "2048"}},
		{name: "rsa-pem", args: []string{"-t", "rsa", "-b", "2048", "-m", "PEM"}, hidden: true},
		{name: "ecdsa-pem", args: []string{"-t", "ecdsa", "-m", "PEM"}, hidden: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := &Config{}
			for _, passphrase := range []string{"", "correct horse"} {
				path := filepath.Join(dir, test.name+strings.ReplaceAll(passphrase, " ", ""))
				sshtest.Run(t, "ssh-keygen", append(test.args, "-q", "-a", "1", "-N", passphrase, "-f", path)...)
				public, err := cfg.loadIdentity(IdentityFile{Path: path + ".pub"})
				if err != nil || public.signer != nil {
					t.Fatalf("%+v, %v", public, err)
				}
				id, err := cfg.loadIdentity(IdentityFile{Path: path, Passphrase: passphrase})
				if err != nil || id.signer == nil || !algorithms.SameKey(id.public, public.public) {
					t.Fatalf("%+v, %v", id, err)
				}
				if passphrase == "" {
					continue
				}
				_, err = cfg.loadIdentity(IdentityFile{Path: path, Passphrase: "wrong"})
				if err == nil || !strings.Contains(err.Error(), "decrypted") || strings.Contains(err.Error(), "wrong\"") {
					t.Errorf("wrong passphrase: %v", err)
				}
				id, err = cfg.loadIdentity(IdentityFile{Path: path})
				if !errors.Is(err, errNeedsPassphrase) || !algorithms.SameKey(id.public, public.public) {
					t.Errorf("no passphrase: %+v, %v", id, err)
				}
				if err := os.Remove(path + ".pub"); err != nil {
					t.Fatal(err)
				}
				id, err = cfg.loadIdentity(IdentityFile{Path: path})
				if !errors.Is(err, errNeedsPassphrase) || (id.public == nil) != test.hidden {
					t.Errorf("no passphrase, no .pub: %+v, %v", id, err)
				}
			}
		})
	}
}

// skFile is an id_ed25519_sk: the private half stays on the token.
func skFile() string {
	sk := ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{"sk-ssh-ed25519@openssh.com", []byte(sshtest.EdKey(1)[32:]), "ssh:"})
	private := ssh.Marshal(struct {
		Check1, Check2 uint32
		Type           string
		Rest           []byte `ssh:"rest"`
	}{1, 1, "sk-ssh-ed25519@openssh.com", make([]byte, 100)})
	body := ssh.Marshal(struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public, Private      []byte
	}{"none", "none", "", 1, sk, private})
	return string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: append([]byte("openssh-key-v1\x00"), body...)}))
}

// postQuantumFile is an id_mldsa44_ed25519 of OpenSSH 10.
func postQuantumFile() string {
	public := ssh.Marshal(struct{ Type, Key string }{"ssh-mldsa44-ed25519", "key"})
	body := ssh.Marshal(struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public, Private      []byte
	}{"none", "none", "", 1, public, make([]byte, 64)})
	return string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: append([]byte("openssh-key-v1\x00"), body...)}))
}

func TestIdentityErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "id")
	short := filepath.Join(dir, "short")
	sshtest.WriteKey(t, short, sshtest.RSAKey(t, 1024), "")
	for _, test := range []struct{ name, content, err string }{
		{"empty", "", `identity_file "PATH" is empty; copy the private key into it`},
		{"text", "hello", `identity_file "PATH" is not a private key in OpenSSH or PEM form; write the path of the file that ssh-keygen -y -f reads`},
		{"PuTTY", "PuTTY-User-Key-File-3: ssh-ed25519\n", `identity_file "PATH" is a PuTTY key; run puttygen PATH -O private-openssh -o PATH.openssh, and write the path of that file`},
		{"PKCS#8", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", `identity_file "PATH" is encrypted and has no passphrase`},
		{"short", readString(t, short), `identity_file "PATH" cannot be used: RSA key of 1024 bits is shorter than required_rsa_size 2048; make one with ssh-keygen -t ed25519`},
		{"short public", readString(t, short+".pub"), `identity_file "PATH" cannot be used: RSA key of 1024 bits is shorter than required_rsa_size 2048; make one with ssh-keygen -t ed25519`},
		{"security token", skFile(), ""},
		{"post-quantum", postQuantumFile(), `identity_file "PATH" has a key of type ssh-mldsa44-ed25519, which is not supported; make another with ssh-keygen -t ed25519, and add its .pub to authorized_keys on the bastion`},
	} {
		t.Run(test.name, func(t *testing.T) {
			sshtest.Write(t, path, test.content)
			id, err := (&Config{}).loadIdentity(IdentityFile{Path: path})
			sshtest.WantError(t, err, strings.ReplaceAll(test.err, "PATH", path))
			if err == nil && (id.signer != nil || id.public.Type() != "sk-ssh-ed25519@openssh.com") {
				t.Errorf("%+v", id)
			}
		})
	}
	_, err := (&Config{}).loadIdentity(IdentityFile{Path: dir})
	sshtest.WantError(t, err, `identity_file "`+dir+`" cannot be read: is a directory`)
	_, err = (&Config{}).loadIdentity(IdentityFile{Path: dir + "/none"})
	sshtest.WantError(t, err, `identity_file "`+dir+`/none" does not exist`)
}

func readString(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
