package sshauth

import (
	"crypto"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// texts are the values of placeholders, as config resolves them.
type texts map[string]string

func (v texts) resolve(raw string) (string, error) {
	if !strings.HasPrefix(raw, "{") {
		return raw, nil
	}
	if path, ok := strings.CutPrefix(raw, "{file."); ok {
		data, err := os.ReadFile(strings.TrimSuffix(path, "}"))
		if err != nil {
			return "", errors.New("placeholder " + raw + " is empty: the file is empty, absent or not readable")
		}
		return string(data), nil
	}
	value, ok := v[raw]
	switch {
	case !ok:
		return "", errors.New("unknown placeholder " + raw)
	case value == "":
		return "", errors.New("placeholder " + raw + " is empty; set it")
	}
	return value, nil
}

// keyText returns the text of a private key's file.
func keyText(t testing.TB, key crypto.PrivateKey, passphrase string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	sshtest.WriteKey(t, path, key, passphrase)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestCheckTexts: keys and certificates that are texts, when a configuration is loaded. No
// message shows any of them.
func TestCheckTexts(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := t.TempDir()
	key, locked, short := keyText(t, sshtest.EdKey(1), ""), keyText(t, sshtest.EdKey(2), "pass"), keyText(t, sshtest.RSAKey(t, 1024), "")
	ca := sshtest.SignerFor(t, sshtest.EdKey(50))
	one := sshtest.PublicOf(t, sshtest.EdKey(1))
	cert := sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, nil))
	expired := sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1, 2 }))
	public := sshtest.AuthorizedKey(one)
	body := strings.Split(key, "\n")[2]
	values := texts{
		"{env.KEY}": key, "{env.SPACES}": strings.ReplaceAll(key, "\n", " "), "{env.BASE64}": base64.StdEncoding.EncodeToString([]byte(key)),
		"{env.LOCKED}": locked, "{env.PASS}": "pass", "{env.WRONG}": "hunter2", "{env.SHORT}": short, "{env.EMPTY}": "", "{env.BLANK}": " \n",
		"{env.HALF}": key[:len(key)/2], "{env.HEAD}": "-----BEGIN OPENSSH PRIVATE KEY-----", "{env.BODY}": body, "{env.JUNK}": "hunter2 hunter2\nhunter2",
		"{env.PATH}": "/etc/caddy/hunter2", "{env.PUBLIC}": public, "{env.SK}": skFile(),
		"{env.CERT}": cert + "\n", "{env.QUOTED}": `"` + cert + `\n"`, "{env.EXPIRED}": expired,
		"{env.PUTTY}": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: hunter2\n",
	}
	sshtest.Write(t, dir+"/key", key)
	for _, test := range []struct {
		name         string
		identities   []Identity
		certificates []string
		err          string
		warnings     []string
	}{
		{name: "a key", identities: []Identity{{Text: "{env.KEY}"}, {Text: "{env.SPACES}"}, {Text: "{env.BASE64}"}}},
		{name: "of a file", identities: []Identity{{Text: "{file." + dir + "/key}"}}},
		{name: "generated", identities: []Identity{{Generated: "prod"}}},
		{name: "passphrase", identities: []Identity{{Text: "{env.LOCKED}", Passphrase: "{env.PASS}"}}},
		{name: "unset", identities: []Identity{{Text: "{env.KEY}"}, {Text: "{env.EMPTY}"}}, err: `identity 2 ({env.EMPTY}): placeholder {env.EMPTY} is empty; set it`},
		{name: "blank", identities: []Identity{{Text: "{env.BLANK}"}}, err: `identity 1 ({env.BLANK}) is empty; check what its placeholder stands for`},
		{name: "unset passphrase", identities: []Identity{{Text: "{env.LOCKED}", Passphrase: "{env.EMPTY}"}}, err: `passphrase of identity 1 ({env.LOCKED}): placeholder {env.EMPTY} is empty; set it`},
		{name: "no passphrase", identities: []Identity{{Text: "{env.LOCKED}"}}, err: `identity 1 ({env.LOCKED}) is encrypted and has no passphrase; write it behind the key, as a placeholder, or add the key to an agent`},
		{name: "wrong passphrase", identities: []Identity{{Text: "{env.LOCKED}", Passphrase: "{env.WRONG}"}}, err: `identity 1 ({env.LOCKED}) cannot be decrypted: its passphrase is wrong`},
		{name: "absent file", identities: []Identity{{Text: "{file." + dir + "/absent}"}}, warnings: []string{
			`identity 1 ({file./absent}): file "/absent" does not exist; the tunnel is down until it does, unless something else lets it in`,
		}},
		{name: "short", identities: []Identity{{Text: "{env.SHORT}"}}, err: `identity 1 ({env.SHORT}) cannot be used: RSA key of 1024 bits is shorter than required_rsa_size 2048; make one with ssh-keygen -t ed25519`},
		{name: "half", identities: []Identity{{Text: "{env.HALF}"}}, err: `identity 1 ({env.HALF}) is incomplete: the last line of the private key, the one with END, is missing; write the whole text of a private key, as the file that ssh-keygen writes has it`},
		{name: "first line", identities: []Identity{{Text: "{env.HEAD}"}}, err: `identity 1 ({env.HEAD}) is incomplete: the last line of the private key, the one with END, is missing; write the whole text of a private key, as the file that ssh-keygen writes has it`},
		{name: "junk", identities: []Identity{{Text: "{env.JUNK}"}}, err: `identity 1 ({env.JUNK}) is not a private key in OpenSSH or PEM form; write the whole text of a private key, as the file that ssh-keygen writes has it`},
		{name: "PuTTY", identities: []Identity{{Text: "{env.PUTTY}"}}, err: `identity 1 ({env.PUTTY}) is a PuTTY key; write the whole text of a private key, as the file that ssh-keygen writes has it`},
		{name: "path", identities: []Identity{{Text: "{env.PATH}"}}, err: `identity 1 ({env.PATH}) is not the text of a private key; for a path write identity_file`},
		{name: "literal path", identities: []Identity{{Text: "/etc/caddy/hunter2"}}, err: `identity 1 is not the text of a private key; for a path write identity_file`},
		{name: "public key", identities: []Identity{{Text: "{env.PUBLIC}"}}, err: `identity 1 ({env.PUBLIC}) is a public key or a certificate; write the private key, or the certificate as certificate`},
		{name: "security token", identities: []Identity{{Text: "{env.SK}"}}, err: `identity 1 ({env.SK}) is a key on a security token, which only an agent can sign with; add it to one with ssh-add, and set identity_agent or SSH_AUTH_SOCK`},
		{name: "literal", identities: []Identity{{Text: key}}, warnings: []string{`identity 1 is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}`}},
		{name: "half literal", identities: []Identity{{Text: "hunter2{env.KEY}"}}, err: `identity 1: unknown placeholder hunter2`},
		{name: "certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.CERT}", "{env.QUOTED}", cert}},
		{name: "expired certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.EXPIRED}"}, warnings: []string{`certificate 1 ({env.EXPIRED}) expired on 1970-01-01T00:00:02Z and is ignored`}},
		{name: "key as certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.KEY}"}, err: `certificate 1 ({env.KEY}) is a private key; write it as identity`},
		{name: "public key as certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.PUBLIC}"}, err: `certificate 1 ({env.PUBLIC}) is a public key, not a certificate`},
		{name: "path as certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.PATH}"}, err: `certificate 1 ({env.PATH}) is not the text of an OpenSSH certificate; for a path write certificate_file`},
		{name: "junk as certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.JUNK}"}, err: `certificate 1 ({env.JUNK}) is not an OpenSSH certificate`},
		{name: "unset certificate", identities: []Identity{{Text: "{env.KEY}"}}, certificates: []string{"{env.EMPTY}"}, err: `certificate 1 ({env.EMPTY}): placeholder {env.EMPTY} is empty; set it`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := &Config{User: "deploy", Identities: test.identities, Certificates: test.certificates, Resolve: values.resolve}
			if strings.HasPrefix(test.name, "half literal") {
				cfg.Resolve = func(string) (string, error) { return "", errors.New("unknown placeholder hunter2") } // config's shows none
			}
			cfg.ApplyDefaults(dir)
			if !cfg.IdentitiesOnly || len(cfg.IdentityFiles) > 0 {
				t.Errorf("more than what is written is offered: %t, %v", cfg.IdentitiesOnly, cfg.IdentityFiles)
			}
			warnings, err := cfg.Check()
			if err != nil {
				err = errors.New(strings.ReplaceAll(err.Error(), dir, ""))
			}
			sshtest.WantError(t, err, test.err)
			warnings = slices.DeleteFunc(warnings, func(w string) bool { return strings.Contains(w, " to decrypt; ") }) // the race detector makes it slow
			for i := range warnings {
				warnings[i] = strings.ReplaceAll(warnings[i], dir, "")
			}
			if err == nil && !slices.Equal(warnings, test.warnings) {
				t.Errorf("warnings\n got %q\nwant %q", warnings, test.warnings)
			}
			if test.name == "half literal" {
				return
			}
			for _, s := range append(warnings, test.err) {
				if strings.Contains(s, "hunter2") || strings.Contains(s, body) {
					t.Errorf("a secret is shown in %q", s)
				}
			}
		})
	}
}

// TestFilesOfTexts: the files of placeholders are watched as those of paths are.
func TestFilesOfTexts(t *testing.T) {
	t.Parallel()
	cfg := &Config{
		IdentityAgent: "none", IdentityFiles: []IdentityFile{{Path: "/id"}},
		Identities:   []Identity{{Text: "{env.A}"}, {Text: "{file./run/key}", Passphrase: "{file./run/pass}"}, {Text: "x{file./run/other}"}, {Generated: "prod"}},
		Certificates: []string{"{env.B}", "{file./run/cert}"},
	}
	if got, want := cfg.Files(), []string{"/id", "/id-cert.pub", "/id.pub", "/run/key", "/run/pass", "/run/cert"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := cfg.KeyFiles(), []string{"/id", "/run/key"}; !slices.Equal(got, want) {
		t.Errorf("keys: got %q, want %q", got, want)
	}
}
