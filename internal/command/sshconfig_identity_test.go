//go:build linux

package command

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// opensshFile returns a private key file of OpenSSH's form with these halves.
func opensshFile(public, private []byte) []byte {
	const check = 7
	private = append(ssh.Marshal(struct{ A, B uint32 }{check, check}), private...)
	for pad := byte(1); len(private)%8 != 0; pad++ {
		private = append(private, pad)
	}
	body := append([]byte("openssh-key-v1\x00"), ssh.Marshal(struct {
		Cipher, KDF, Options string
		Keys                 uint32
		Public, Private      []byte
	}{"none", "none", "", 1, public, private})...)
	return pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: body})
}

// unusableKeys returns files that no SSH client without an agent can use.
func unusableKeys(t *testing.T) map[string]string {
	t.Helper()
	key := sshtest.NewKey()
	text := key.PEM("")
	raw := bytes.Repeat([]byte{7}, 32)
	const token, future = "sk-ssh-ed25519@openssh.com", "ssh-mldsa44-ed25519@openssh.com"
	files := map[string]string{
		"encrypted": key.EncryptedFile(t, "hunter2"),
		"directory": t.TempDir(),
		"absent":    filepath.Join(t.TempDir(), "absent"),
	}
	for name, content := range map[string][]byte{
		"empty":       nil,
		"text":        []byte("hello\n"),
		"truncated":   text[:len(text)/2],
		"DER":         raw,
		"public half": []byte(key.AuthorizedKey() + "\n"),
		"UTF-16":      append([]byte("\xff\xfe"), bytes.Join(bytes.Split(text, nil), []byte{0})...),
		"PuTTY":       []byte("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: x\nPublic-Lines: 1\nAAAA\nPrivate-Lines: 1\nAAAA\nPrivate-MAC: 00\n"),
		"FIDO": opensshFile(ssh.Marshal(struct{ Type, Key, Application string }{token, string(raw), "ssh:"}), ssh.Marshal(struct {
			Type, Key, Application string
			Flags                  byte
			Handle, Reserved       string
			Comment                string
		}{token, string(raw), "ssh:", 1, "handle", "", ""})),
		"unknown type": opensshFile(ssh.Marshal(struct{ Type, Key string }{future, string(raw)}), ssh.Marshal(struct{ Type, Key, Secret, Comment string }{future, string(raw), string(raw), ""})),
		"RSA 1024":     sshtest.NewRSAKey(1024).PEM(""),
	} {
		files[name] = sshtest.WriteFile(t, "id", content)
	}
	keygen := sshtest.Program(t, "ssh-keygen")
	dsa := filepath.Join(t.TempDir(), "id")
	if err := exec.Command(keygen, "-q", "-t", "dsa", "-N", "", "-f", dsa).Run(); err == nil { // not with OpenSSH 10
		files["DSA"] = dsa
	}
	return files
}

// TestSSHConfigUnusableIdentity: after a file of an ssh_config that cannot be used
// the next one is, as by ssh. The same file in the tunnel's block is an error.
func TestSSHConfigUnusableIdentity(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	client := sshtest.Program(t, "ssh")
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	known := sshtest.WriteFile(t, "known_hosts", []byte(s.HostKeyLine()+"\n"))
	for name, file := range unusableKeys(t) {
		t.Run(name, func(t *testing.T) {
			sshConfig := sshtest.WriteFile(t, "config", fmt.Appendf(nil, `
Host bastion
	HostName %s
	Port %d
	User %s
	IdentityFile %s
	CertificateFile %s
	IdentityFile %s
	UserKnownHostsFile %s
	GlobalKnownHostsFile none
`, s.Host, s.Port, s.User, file, file, s.ClientKeyFile(), known))
			if out, err := exec.Command(client, "-F", sshConfig, "-o", "BatchMode=yes", "bastion", "true").CombinedOutput(); err != nil {
				t.Fatalf("ssh: %v: %s", err, out)
			}

			core, logs := observer.New(zapcore.DebugLevel)
			resolve := func(tunnel *config.Tunnel) error {
				app := &config.App{Tunnels: map[string]*config.Tunnel{"prod": tunnel}}
				_, err := app.Resolve(zap.New(core))
				return err
			}
			if err := resolve(&config.Tunnel{SSHConfig: &config.SSHConfig{Alias: "bastion", File: sshConfig}}); err != nil {
				t.Fatalf("the tunnel: %v", err)
			}
			warned := 0
			for _, entry := range logs.All() {
				if strings.Contains(entry.Message, `identity_file "`+file+`"`) {
					warned++
				}
			}
			if warned != 1 {
				t.Errorf("%d warnings: %v", warned, logs.All())
			}

			var flags forwardFlags
			hops, _, err := parsed(t, "-F", sshConfig, "-L", "1:a:1", "bastion")
			if err != nil {
				t.Fatal(err)
			}
			login := &login{output: newOutput(io.Discard, &flags), passphrases: map[string]string{}}
			h, err := login.connect(t.Context(), hops[0], nil)
			if err != nil {
				t.Fatalf("the command: %v", err)
			}
			h.Close()

			if name == "absent" {
				return // it may come
			}
			strict := &config.Tunnel{Hosts: []string{s.Addr()}, KnownHosts: []string{known}, IdentityFiles: []config.IdentityFile{{Path: file}, {Path: s.ClientKeyFile()}}}
			if err := resolve(strict); err == nil {
				t.Error("the tunnel's own block is not strict")
			}
			if info, err := os.Stat(file); err == nil && !info.IsDir() {
				if _, _, err := parsed(t, "-F", sshConfig, "-L", "1:a:1", "-i", file, "bastion"); err != nil {
					t.Errorf("with -i: %v", err)
				}
			}
		})
	}
}
