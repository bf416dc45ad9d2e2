//go:build unix

package sshauth

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLogInWithText: a real sshd lets in with a key and a certificate that are texts, and
// what let in is shown by the name of the option.
func TestLogInWithText(t *testing.T) {
	t.Parallel()
	ca, key, certified := sshtest.SignerFor(t, sshtest.EdKey(60)), sshtest.EdKey(61), sshtest.EdKey(62)
	dir := t.TempDir()
	sshtest.Write(t, dir+"/ca.pub", sshtest.AuthorizedKey(ca.PublicKey())+"\n")
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "TrustedUserCAKeys " + dir + "/ca.pub\n", AuthorizedKeys: []string{sshtest.AuthorizedKey(sshtest.PublicOf(t, key))}})
	cert := sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, sshtest.PublicOf(t, certified), ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{s.User} }))
	text, certifiedText := keyText(t, key, ""), keyText(t, certified, "")
	sshtest.Write(t, dir+"/key", text)
	held := sshtest.StartAgent(t, agent.AddedKey{PrivateKey: certified})
	other := sshtest.StartAgent(t, agent.AddedKey{PrivateKey: sshtest.EdKey(63)})
	values := texts{
		"{env.KEY}": text, "{env.LINES}": `"` + strings.ReplaceAll(text, "\n", `\n`) + `"`, "{env.SPACES}": strings.ReplaceAll(text, "\n", " "),
		"{env.BASE64}": base64.RawStdEncoding.EncodeToString([]byte(text)), "{env.LOCKED}": keyText(t, key, "pass"), "{env.PASS}": "pass",
		"{env.CERTIFIED}": certifiedText, "{env.CERT}": cert + "\n", "{env.CERT64}": base64.StdEncoding.EncodeToString([]byte(cert)), "{env.EMPTY}": "",
	}
	fingerprint := ssh.FingerprintSHA256(sshtest.PublicOf(t, key))
	for name, test := range map[string]struct {
		cfg  Config
		used string // after "publickey "; or "" if it is refused
	}{
		"as it is":    {Config{Identities: []Identity{{Text: "{env.KEY}"}}}, fingerprint + " (identity 1 ({env.KEY}))"},
		"lines":       {Config{Identities: []Identity{{Text: "{env.LINES}"}}}, fingerprint + " (identity 1 ({env.LINES}))"},
		"spaces":      {Config{Identities: []Identity{{Text: "{env.SPACES}"}}}, fingerprint + " (identity 1 ({env.SPACES}))"},
		"base64":      {Config{Identities: []Identity{{Text: "{env.BASE64}"}}}, fingerprint + " (identity 1 ({env.BASE64}))"},
		"literally":   {Config{Identities: []Identity{{Text: text}}}, fingerprint + " (identity 1)"},
		"of a file":   {Config{Identities: []Identity{{Text: "{file." + dir + "/key}"}}}, fingerprint + " (identity 1 ({file." + dir + "/key}))"},
		"locked":      {Config{Identities: []Identity{{Text: "{env.LOCKED}", Passphrase: "{env.PASS}"}}}, fingerprint + " (identity 1 ({env.LOCKED}))"},
		"second":      {Config{Identities: []Identity{{Text: "{env.CERTIFIED}"}, {Text: "{env.KEY}"}}}, fingerprint + " (identity 2 ({env.KEY}))"},
		"behind one":  {Config{Identities: []Identity{{Text: "{env.EMPTY}"}, {Text: "{env.KEY}"}}}, fingerprint + " (identity 2 ({env.KEY}))"},
		"certificate": {Config{Identities: []Identity{{Text: "{env.CERTIFIED}"}}, Certificates: []string{"{env.CERT}"}}, "certificate \"test\" " + ssh.FingerprintSHA256(sshtest.PublicOf(t, certified)) + " (certificate 1 ({env.CERT}))"},
		"certificate of the agent's": {
			Config{IdentityAgent: held, IdentitiesOnly: true, Certificates: []string{"{env.CERT64}"}},
			"certificate \"test\" " + ssh.FingerprintSHA256(sshtest.PublicOf(t, certified)) + " (certificate 1 ({env.CERT64}))",
		},
		"certificate of no key": {Config{Identities: []Identity{{Text: "{env.LOCKED}"}}, Certificates: []string{"{env.CERT}"}}, ""},
		"nothing of the agent":  {Config{IdentityAgent: other, IdentitiesOnly: true, Identities: []Identity{{Text: "{env.CERTIFIED}"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := test.cfg
			cfg.User, cfg.Resolve = s.User, values.resolve
			a, err := logIn(t, &cfg, nil, s.Addr())
			switch {
			case test.used == "" && err == nil:
				t.Errorf("it is let in with %s", a.Used())
			case test.used == "":
				if strings.Contains(err.Error(), "PRIVATE") || strings.Contains(err.Error(), strings.Split(text, "\n")[2]) {
					t.Errorf("the error shows a key: %v", err)
				}
			case err != nil:
				t.Error(err)
			case a.Used() != "publickey "+test.used:
				t.Errorf("used %s, want %s", a.Used(), test.used)
			}
		})
	}
}

// TestSuccessorOfText: a certificate of a placeholder's file has a successor when that
// file has another.
func TestSuccessorOfText(t *testing.T) {
	t.Parallel()
	ca, key := sshtest.SignerFor(t, sshtest.EdKey(70)), sshtest.EdKey(71)
	path := filepath.Join(t.TempDir(), "cert")
	put := func(id string) *ssh.Certificate {
		cert := sshtest.CertifyKey(t, ssh.UserCert, sshtest.PublicOf(t, key), ca, func(c *ssh.Certificate) { c.KeyId = id })
		if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString([]byte(sshtest.AuthorizedKey(cert)))), 0o600); err != nil {
			t.Fatal(err)
		}
		return cert
	}
	first := put("first")
	cfg := &Config{Certificates: []string{"{env.OTHER}", "{file." + path + "}"}, Resolve: texts{"{env.OTHER}": ""}.resolve}
	used := Certificate{Certificate: first, Path: path, raw: cfg.Certificates[1]}
	if next, _ := cfg.Successor(used); next != nil {
		t.Errorf("it has a successor: %q", next.KeyId)
	}
	put("second")
	if next, _ := cfg.Successor(used); next == nil || next.KeyId != "second" {
		t.Errorf("the successor is %v", next)
	}
	if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if next, _ := cfg.Successor(used); next != nil {
		t.Errorf("half a file is a successor: %q", next.KeyId)
	}
}

// TestGenerated: of two generated keys, the one that replaces the other is offered before
// it, whatever the bastion said to earlier logins; and the error of a refusal has the line
// that lets it in.
func TestGenerated(t *testing.T) {
	t.Parallel()
	current, next := sshtest.SignerFor(t, sshtest.EdKey(80)), sshtest.SignerFor(t, sshtest.EdKey(81))
	line := sshtest.AuthorizedKey
	both := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{line(current.PublicKey())}})
	strict := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	memory := new(Memory)
	cfg := func(s *sshtest.SSHD, keys ...ssh.Signer) *Config {
		return &Config{User: s.User, Identities: []Identity{{Generated: "prod"}}, Generated: keys}
	}
	for _, step := range []struct {
		keys     []ssh.Signer
		attempts int
	}{{[]ssh.Signer{current}, 1}, {[]ssh.Signer{next, current}, 2}, {[]ssh.Signer{next, current}, 2}} {
		a, err := logIn(t, cfg(both, step.keys...), memory, both.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if used := a.UsedGenerated(); ssh.FingerprintSHA256(used) != ssh.FingerprintSHA256(current.PublicKey()) {
			t.Errorf("used %s", ssh.FingerprintSHA256(used))
		}
		if want := "publickey " + ssh.FingerprintSHA256(current.PublicKey()) + " (identity auto)"; a.Used() != want {
			t.Errorf("used %s, want %s", a.Used(), want)
		}
		if n := len(a.attempts) + 1; n != step.attempts {
			t.Errorf("with %d keys: %d attempts, want %d", len(step.keys), n, step.attempts)
		}
	}
	for _, keys := range [][]ssh.Signer{{current}, {next, current}} {
		a, err := logIn(t, cfg(strict, keys...), nil, strict.Addr())
		want := fmt.Sprintf("add this line to the authorized_keys of %q on the bastion: %s; or run caddy ssh-tunnel public-key prod --install", strict.User, line(keys[0].PublicKey()))
		if err == nil || causeOf(err) != failure.CauseKeyRefused || !strings.Contains(err.Error(), want) {
			t.Errorf("%d keys: got %v, want %s", len(keys), err, want)
		}
		if a.Retryable() {
			t.Error("it is tried again soon")
		}
	}
}
