package tunnel

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// agreedWith connects to a bastion and returns what was agreed on.
func agreedWith(t *testing.T, h *Handle) *algorithms.Negotiated {
	t.Helper()
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	conns := h.Status().Connections
	if len(conns) != 1 || conns[0].Algorithms == nil {
		t.Fatalf("connections: %+v", conns)
	}
	return conns[0].Algorithms
}

// TestStrictKex: whether the key exchange is strict is seen in what the bastion
// says. Where it is not, a message that somebody in the middle puts in before the
// keys are in use goes unnoticed; where it is, it ends the connection, which
// TestTerrapin shows.
func TestStrictKex(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		offer  sshtest.Offer
		strict bool
	}{
		"strict":                       {sshtest.Offer{Strict: true}, true},
		"not strict":                   {sshtest.Offer{}, false},
		"not strict, with an intruder": {sshtest.Offer{Intrude: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hostKey := sshtest.NewKey()
			m := sshtest.NewMalice(t, hostKey, "", func(c *sshtest.MaliceConn) {
				if c.Greet("SSH-2.0-other") == nil && c.Exchange(test.offer) == nil && c.Admit() == nil {
					c.Await(time.Minute)
				}
			})
			cfg := configFor(t, sshtest.NewKey(), hostKey.Fingerprint(), m.Addr())
			cfg.Name = t.Name()
			set := quick()
			set.ServerAliveInterval = 0
			logs := observed(&set)
			if n := agreedWith(t, open(t, cfg, set)); n.StrictKex != test.strict {
				t.Errorf("agreed on %+v", n)
			}
			if told := logs.FilterMessageSnippet("strict key exchange").Len(); told != 0 { // AES-GCM does without
				t.Errorf("logged %d times", told)
			}
		})
	}
}

// TestPostQuantum: a key exchange that withstands quantum computers is agreed on
// with a bastion that has one. That it has none is said once, and not where who
// wrote kex_algorithms has asked for no such.
func TestPostQuantum(t *testing.T) {
	t.Parallel()
	older := ssh.Config{KeyExchanges: []string{ssh.KeyExchangeCurve25519}}
	for name, test := range map[string]struct {
		server ssh.Config
		kex    []string // kex_algorithms
		agreed string
		told   int
	}{
		"has one":           {ssh.Config{}, nil, ssh.KeyExchangeMLKEM768X25519, 0},
		"has none":          {older, nil, ssh.KeyExchangeCurve25519, 1},
		"is not asked":      {ssh.Config{}, []string{ssh.KeyExchangeCurve25519}, ssh.KeyExchangeCurve25519, 0},
		"is asked for last": {ssh.Config{}, []string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeMLKEM768X25519}, ssh.KeyExchangeCurve25519, 0},
		"has none, asked for between": {
			ssh.Config{KeyExchanges: []string{ssh.KeyExchangeECDHP256}},
			[]string{ssh.KeyExchangeCurve25519, ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeECDHP256},
			ssh.KeyExchangeECDHP256, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := sshtest.NewKey()
			bastion := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.Config = test.server })
			cfg := configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr())
			cfg.Name, cfg.KexAlgorithms = t.Name(), test.kex
			set := quick()
			logs := observed(&set)
			said := func(text string) int { return logs.FilterMessageSnippet(text).Len() }

			h := open(t, cfg, set)
			n := agreedWith(t, h)
			if n.KeyExchange != test.agreed || n.PostQuantum != algorithms.IsPostQuantum(test.agreed) || !n.StrictKex {
				t.Errorf("agreed on %+v", n)
			}
			// A reconnect, and a reload that changes where the tunnel connects.
			bastion.Kick()
			sshtest.Eventually(t, 10*time.Second, "a reconnect", func() bool { return said("reconnected") > 0 })
			cfg.RequiredRSASize = 3072
			agreedWith(t, open(t, cfg, set))
			if told := said("the bastion has no post-quantum key exchange"); told != test.told {
				t.Errorf("logged %d times, want %d", told, test.told)
			}
		})
	}
}
