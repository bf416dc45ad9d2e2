package sshauth

import (
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// logins logs in several times with one memory.
func logins(t *testing.T, cfg *Config, guards ...*guard) {
	t.Helper()
	var memory Memory
	for _, g := range guards {
		a := authFor(t, cfg)
		a.memory = &memory
		err := g.server(t).connect(t, a)
		a.Learn(err == nil)
	}
}

func wantOffers(t *testing.T, g *guard, seeds ...byte) {
	t.Helper()
	var want []string
	for _, seed := range seeds {
		want = append(want, ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(seed))))
	}
	if !slices.Equal(g.offered, want) {
		t.Errorf("offered %q, want %q", g.offered, want)
	}
}

func agentWith(t *testing.T, seeds ...byte) *Config {
	var keys []agent.AddedKey
	for _, seed := range seeds {
		key := sshtest.EdKey(seed)
		keys = append(keys, agent.AddedKey{PrivateKey: &key})
	}
	return &Config{IdentityAgent: sshtest.StartAgent(t, keys...)}
}

// TestAcceptedKeyIsFirst: until the bastion refuses it.
func TestAcceptedKeyIsFirst(t *testing.T) {
	t.Parallel()
	takes := func(seed byte) *guard { return &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(seed))}} }
	a, b, c, d := takes(3), takes(3), takes(2), takes(2)
	logins(t, agentWith(t, 1, 2, 3), a, b, c, d)
	wantOffers(t, a, 1, 2, 3)
	wantOffers(t, b, 3)
	wantOffers(t, c, 3, 1, 2)
	wantOffers(t, d, 2)
}

// TestRefusedKeysAreLast: a bastion that takes few attempts sees other keys the
// next time, and all of them again when it has refused each.
func TestRefusedKeysAreLast(t *testing.T) {
	t.Parallel()
	takes := func(seed byte) *guard { return &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(seed))}} }
	a, b, c := takes(9), takes(9), takes(8)
	logins(t, agentWith(t, 1, 2, 3, 4, 5, 6, 7, 8), a, b, c)
	wantOffers(t, a, 1, 2, 3, 4, 5, 6)
	wantOffers(t, b, 7, 8, 1, 2, 3, 4)
	wantOffers(t, c, 1, 2, 3, 4, 5, 6)
}

// TestAcceptedPasswordIsFirst: keys that the bastion refuses are not shown to it
// again and again, unless it no longer takes the password.
func TestAcceptedPasswordIsFirst(t *testing.T) {
	t.Parallel()
	cfg := agentWith(t, 1, 2)
	cfg.Password = "right"
	none := []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(9))}
	a, b := &guard{keys: none, password: "right"}, &guard{keys: none, password: "right"}
	c := &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(2))}, password: "new"}
	d := &guard{keys: c.keys, password: "new"}
	logins(t, cfg, a, b, c, d)
	wantOffers(t, a, 1, 2)
	wantOffers(t, b)
	wantOffers(t, c, 1, 2)
	wantOffers(t, d, 2)
	if d.passwords != 0 {
		t.Error("the password was sent although the key was accepted before")
	}
}

// TestAcceptedMethodIsFirst: a dialogue that asks for nothing and refuses counts as a
// failure: it is not begun again once the method password was accepted.
func TestAcceptedMethodIsFirst(t *testing.T) {
	t.Parallel()
	cfg := &Config{Password: "right"}
	a, b := &guard{password: "right", prompts: []string{}}, &guard{password: "right", prompts: []string{"Password: "}}
	c := &guard{password: "another", prompts: []string{"Password: "}}
	d := &guard{password: "another", prompts: []string{"Password: "}}
	logins(t, cfg, a, b, c, d)
	for i, g := range []*guard{a, b, c} {
		if g.passwords != 1 || g.answers != nil {
			t.Errorf("login %d: %d passwords, answers %q", i, g.passwords, g.answers)
		}
	}
	if d.passwords != 0 || len(d.answers) != 1 {
		t.Errorf("after a refused password: %d passwords, answers %q", d.passwords, d.answers)
	}
}

// TestDialogueForCodeIsLast: a server may take the request after a dialogue that was
// not gone on with for an answer, and refuse it: x/crypto's does. The next login begins
// with the password.
func TestDialogueForCodeIsLast(t *testing.T) {
	t.Parallel()
	takes := func() *guard { return &guard{password: "right", prompts: []string{"Verification code: "}} }
	a, b, c := takes(), takes(), takes()
	logins(t, &Config{Password: "right"}, a, b, c)
	if a.passwords != 0 || b.passwords != 1 || c.passwords != 1 {
		t.Errorf("passwords: %d, %d, %d", a.passwords, b.passwords, c.passwords)
	}
}

// TestMemoryOfCertificates: a renewed certificate takes the place of the one that
// was accepted.
func TestMemoryOfCertificates(t *testing.T) {
	t.Parallel()
	ca := sshtest.SignerFor(t, sshtest.EdKey(50))
	blob := func(key ssh.PublicKey) string { return string(key.Marshal()) }
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	old, renewed := sshtest.CertifyKey(t, ssh.UserCert, two, ca, nil), sshtest.CertifyKey(t, ssh.UserCert, two, ca, func(c *ssh.Certificate) { c.KeyId = "renewed" })
	var m Memory
	m.succeeded([]*attempt{{blob: blob(old)}})
	offers := []offer{{what: "one", blob: blob(one)}, {what: "renewed", blob: blob(renewed)}}
	sort(&m, offers, func(o offer) string { return o.blob })
	if offers[0].what != "renewed" {
		t.Errorf("%s is first", offers[0].what)
	}
}
