//go:build unix

package pool

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// pair is a tunnel to two real servers, each with its own key, with a connection
// before each.
type pair struct {
	servers [2]*sshtest.SSHD
	links   [2]*sshtest.Link
	cfg     connect.Config
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{}
	key := sshtest.NewKey()
	p.cfg = configFor(t, key, "", "")
	var known strings.Builder
	for i := range p.servers {
		s := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{key.AuthorizedKey()}})
		p.servers[i], p.links[i] = s, sshtest.NewLink(t, s.Addr())
		known.WriteString(sshtest.KnownHostsLine(p.links[i].Addr(), s.HostKey.PublicKey()) + "\n")
		p.cfg.User = s.User
	}
	p.cfg.HostKeys = nil
	p.cfg.KnownHosts = []string{sshtest.WriteFile(t, "known_hosts", []byte(known.String()))}
	p.cfg.Address, p.cfg.Fallbacks = p.links[0].Addr(), []string{p.links[1].Addr()}
	return p
}

// inUse returns the address of the host that a handle's tunnel uses.
func inUse(h *Pool) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failback.inUse.Address
}

// TestHosts: whatever is wrong with the first host, the second serves in time.
func TestHosts(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(t *testing.T, p *pair)
		logged string
	}{
		{"none", func(*testing.T, *pair) {}, ""},
		{"refused", func(_ *testing.T, p *pair) { p.links[0].Refuse() }, "connection refused"},
		{"hangs", func(_ *testing.T, p *pair) { p.links[0].Freeze(sshtest.Both) }, "no answer"},
		{"unreachable", func(t *testing.T, p *pair) {
			ns := sshtest.NewNetns(t)
			ns.Unplug()
			p.cfg.Address = net.JoinHostPort(ns.Addr(), "22")
		}, "no answer"},
		{"other key", func(_ *testing.T, p *pair) { p.links[0].SetTarget(p.servers[1].Addr()) }, "host key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t)
			c.spoil(t, p)
			set := quick()
			set.ConnectTimeout = time.Hour // which is not waited for
			logs := observed(&set)
			start := time.Now()
			h := open(t, p.cfg, set)
			conn, err := dialFor(t, h, listen(t, echo), sshtest.Patience)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			took := time.Since(start)
			roundTrip(t, conn)
			if c.logged != "no answer" && took >= time.Second {
				t.Logf("connecting took %v: both hosts were tried, and either may have been the first", took)
				return
			}
			want := p.cfg.Fallbacks[0]
			if c.logged == "" {
				want = p.cfg.Address
			}
			if got := inUse(h); got != want {
				t.Errorf("in use is %s", got)
			}
			if n := logs.FilterMessage("connected").FilterField(zap.String("address", want)).Len(); n != 1 {
				t.Errorf("%d lines say connected to %s", n, want)
			}
			failures := logs.FilterMessage("connecting failed; will retry").FilterField(zap.String("address", p.cfg.Address)).All()
			if c.logged == "" {
				if len(failures) > 0 {
					t.Errorf("failures: %v", failures)
				}
			} else if len(failures) == 0 || !strings.Contains(failures[0].ContextMap()["error"].(string), c.logged) {
				t.Errorf("failures: %v", failures)
			}
		})
	}
}

// TestHostsLoginHangs: a host that shows its banner and then hangs, in the key
// exchange or in the authentication, costs a moment and not the whole
// connect_timeout before the next is tried. That one that is only slow is waited for,
// TestSlowLogin of package tunnel checks, whose clock does not depend on the machine.
func TestHostsLoginHangs(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]sshtest.Faults{
		"key exchange":   {Handshake: sshtest.HandshakeVersionOnly},
		"authentication": {HoldAuth: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			signer, err := ssh.NewSignerFromSigner(p.servers[0].HostKey.Private())
			if err != nil {
				t.Fatal(err)
			}
			hangs := sshtest.NewBastion(t, sshtest.BastionOptions{})
			hangs.SetHostKeys(signer)
			hangs.Misbehave(faults)
			p.links[0].SetTarget(hangs.Addr())
			set := quick()
			set.ConnectTimeout = time.Minute
			logs := observed(&set)
			h := open(t, p.cfg, set)
			conn, err := dialFor(t, h, listen(t, echo), set.ConnectTimeout/2)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			roundTrip(t, conn)
			if got := inUse(h); got != p.cfg.Fallbacks[0] {
				t.Errorf("in use is %s", got)
			}
			failures := logs.FilterMessage("connecting failed; will retry").All()
			if len(failures) != 1 || !strings.Contains(failures[0].ContextMap()["error"].(string), "made no progress") {
				t.Errorf("failures: %v", failures)
			}
		})
	}
}

// TestHostsAllDown: the error says it of each.
func TestHostsAllDown(t *testing.T) {
	p := newPair(t)
	p.links[0].Refuse()
	p.links[1].SetTarget(p.servers[0].Addr())
	h := open(t, p.cfg, quick())
	_, err := dialFor(t, h, "web:80", sshtest.Patience)
	if _, ok := errors.AsType[*failure.DownError](err); !ok {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{p.cfg.Address, "connection refused", p.cfg.Fallbacks[0], "host key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if _, ok := errors.AsType[*failure.HostKeyError](err); !ok {
		t.Error("no HostKeyError in it")
	}
}

// TestHostsReturn: a lost host is replaced by the next one, and, when it has
// answered again for a while, takes over. What went on through the other goes on.
func TestHostsReturn(t *testing.T) {
	p := newPair(t)
	set := quick()
	set.ReturnAfter = 200 * time.Millisecond
	logs := observed(&set)
	h := open(t, p.cfg, set)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, h, addr))

	p.links[0].Refuse()
	p.links[0].Reset()
	var c *Conn
	sshtest.Eventually(t, 5*time.Second, "the second host", func() (ok bool) {
		var err error
		c, err = dialFor(t, h, addr, 3*time.Second)
		return err == nil
	})
	defer c.Close()
	roundTrip(t, c)
	if got := inUse(h); got != p.cfg.Fallbacks[0] {
		t.Fatalf("in use is %s", got)
	}

	before := h.Generation()
	p.links[0].Accept()
	sshtest.Eventually(t, 10*time.Second, "the return", func() bool {
		roundTrip(t, c)
		other, err := dialFor(t, h, addr, time.Second)
		if err != nil {
			t.Fatalf("a dial during the return: %v", err)
		}
		roundTrip(t, other)
		_ = other.Close()
		return inUse(h) == p.cfg.Address
	})
	roundTrip(t, c)
	roundTrip(t, mustDial(t, h, addr))
	if h.Generation() == before {
		t.Error("pools of channels do not learn of the return")
	}
	if logs.FilterMessage("connection replaced").Len() == 0 {
		t.Error("the replacement is not logged")
	}
	_ = c.Close()
	sshtest.Eventually(t, 10*time.Second, "the end of the second host's connection", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.members) == 1 && h.failback.state == failbackOff
	})
}

// TestHostsStay: a preferred host that answers, but does not let us in, costs
// the connections to the other nothing.
func TestHostsStay(t *testing.T) {
	p := newPair(t)
	p.links[0].SetTarget(p.servers[1].Addr()) // another key
	set := quick()
	set.ReturnAfter = 50 * time.Millisecond
	h := open(t, p.cfg, set)
	c := mustDial(t, h, listen(t, echo))
	for range 20 {
		roundTrip(t, c)
		time.Sleep(50 * time.Millisecond)
	}
	if got := inUse(h); got != p.cfg.Fallbacks[0] {
		t.Errorf("in use is %s", got)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.members); n != 1 || h.members[0].isDraining() {
		t.Errorf("%d connections", n)
	}
}

// TestHostsThroughJump: it is the same through another tunnel, whose own connect
// takes nothing off the first host's time to answer.
func TestHostsThroughJump(t *testing.T) {
	p := newPair(t)
	p.links[0].SetDelay(120 * time.Millisecond) // one round trip of the many that a connect has
	outer := p.cfg
	outer.Name, outer.Fallbacks = "outer", nil
	edge := open(t, outer, quick())

	second := sshtest.NewLink(t, p.servers[1].Addr())
	p.cfg.Address, p.cfg.Fallbacks = p.links[1].Addr(), []string{second.Addr()}
	p.cfg.HostKeys = []string{p.servers[1].HostKey.Fingerprint()}
	for _, down := range []bool{false, true} {
		want := p.cfg.Address
		if down {
			p.links[1].Refuse()
			want = second.Addr()
			p.cfg.Name = "down"
		}
		h := start(p.cfg, quick(), jumpThrough(edge))
		roundTrip(t, mustDial(t, h, listen(t, echo)))
		if got := inUse(h); got != want {
			t.Errorf("in use is %s, want %s", got, want)
		}
		closeAndWait(t, h)
	}
}
