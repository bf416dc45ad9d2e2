//go:build unix

package tunnel

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// sshKnowsOf are the names that ssh -Q lists.
func sshKnowsOf(t *testing.T, what string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), sshtest.Program(t, "ssh"), "-Q", what).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// TestAlgorithmNames: an option takes each name that ssh has and x/crypto/ssh
// knows.
func TestAlgorithmNames(t *testing.T) {
	t.Parallel()
	known := func(name string) bool {
		kex, cipher, mac := ssh.Config{KeyExchanges: []string{name}}, ssh.Config{Ciphers: []string{name}}, ssh.Config{MACs: []string{name}}
		kex.SetDefaults()
		cipher.SetDefaults()
		mac.SetDefaults()
		return slices.Contains(slices.Concat(kex.KeyExchanges, cipher.Ciphers, mac.MACs), name)
	}
	// Go's library has neither DSA, nor keys that browsers keep.
	isKey := func(name string) bool {
		return !strings.HasPrefix(name, "ssh-dss") && !strings.HasPrefix(name, "webauthn-")
	}
	isHostKey := func(name string) bool { return isKey(name) && !strings.HasPrefix(name, "sk-") }
	cfg := &Config{}
	for _, c := range []struct {
		option algorithms.Option
		query  string
		known  func(string) bool
	}{
		{cfg.KexOption(), "kex", known},
		{cfg.CipherOption(), "cipher", known},
		{cfg.MACOption(), "mac", known},
		{cfg.HostKeyOption(), "key-sig", isHostKey},
		{cfg.PubkeyOption(), "key-sig", isKey},
		{cfg.CASignatureOption(), "sig", isKey},
	} {
		ours := slices.Concat(c.option.Supported, c.option.Insecure)
		tested := 0
		for _, name := range sshKnowsOf(t, c.query) {
			if !c.known(name) {
				continue
			}
			tested++
			if !slices.Contains(ours, name) {
				t.Errorf("%s refuses %q: %q", c.option.Name, name, ours)
			}
		}
		if tested < 5 {
			t.Errorf("%s: only %d names", c.option.Name, tested)
		}
	}
}

// TestKexAlias: a bastion, or a tunnel, that has one name of curve25519-sha256 alone
// agrees with another that has both.
func TestKexAlias(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"curve25519-sha256", algorithms.KexCurve25519LibSSH} {
		d := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "KexAlgorithms " + name + "\n"})
		for _, written := range [][]string{nil, {name}} {
			cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.Name, cfg.User, cfg.KexAlgorithms = name, d.User, written
			if _, err := cfg.Check(); err != nil {
				t.Fatal(err)
			}
			h := open(t, cfg, quick())
			if err := h.Connect(t.Context()); err != nil {
				t.Fatalf("%q: %v", written, err)
			}
			if got := h.Status().Connections[0].Algorithms.KeyExchange; got != name {
				t.Errorf("agreed on %q, want %q", got, name)
			}
			closeAndWait(t, h)
		}
	}
}
