package tunnel

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// attack_test.go keeps what went wrong at an edge, or could have.

// TestEndOnDrainingLink: a stream whose both ends are done, but which has not
// been read to its end, holds up the drain of its connection: it is not cut.
func TestEndOnDrainingLink(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			h := open(t, s.start(t), quick())
			const size = 100_000
			// The target takes a request to its end, and then closes first.
			addr := listen(t, func(c net.Conn) {
				_, _ = io.Copy(io.Discard, c)
				_, _ = c.Write(make([]byte, size))
			})
			c := mustDial(t, h, addr)
			h.pool.mu.Lock()
			m := h.pool.only()
			h.pool.mu.Unlock()
			h.pool.replace(m, reasonRequested, "test")
			sshtest.Eventually(t, 5*time.Second, "a replacement", func() bool {
				h.pool.mu.Lock()
				defer h.pool.mu.Unlock()
				return h.pool.only() != m
			})
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond) // the bastion closes the channel
			_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
			if n, err := io.Copy(io.Discard, c); n != size || err != nil {
				t.Errorf("read %d of %d bytes: %v", n, size, err)
			}
			waitGone(t, h, m)
		})
	}
}

// TestDialAcrossClose: a dial that waits for the connection when its
// configuration is replaced is one of that configuration's last requests.
func TestDialAcrossClose(t *testing.T) {
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	bastion.Misbehave(sshtest.Faults{HoldAuth: true})
	h := Open(configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr()), quick(), nil)
	h.Start()
	defer closeAndWait(t, h)
	addr := listen(t, echo)
	dialed := make(chan error, 1)
	go func() {
		c, err := dialFor(t, h, addr, sshtest.Patience)
		if err == nil {
			_ = c.Close()
		}
		dialed <- err
	}()
	sshtest.Eventually(t, 5*time.Second, "the dial to wait", func() bool {
		h.pool.mu.Lock()
		defer h.pool.mu.Unlock()
		return h.pool.retry.demand.Dials
	})
	h.Close()
	time.Sleep(50 * time.Millisecond) // room for the pool to end
	bastion.Misbehave(sshtest.Faults{})
	if err := <-dialed; err != nil {
		t.Errorf("dial across Close: %v", err)
	}
}

// TestStillborn: a connection that is lost in the moment it was made, before
// anybody could use it, is replaced like any other.
func TestStillborn(t *testing.T) {
	set := quick()
	set.Lazy = true // so that we are the ones who connect
	b := newBench(t, set, nil)
	p := b.pool
	c, failed := p.connector.Connect(t.Context(), p.connector.Hosts())
	if c == nil {
		t.Fatal(failed)
	}
	l := p.newMember(c)
	c.Start(l)
	l.client.Close(io.EOF)
	time.Sleep(50 * time.Millisecond) // its death becomes known
	p.connected(l, time.Second)
	roundTrip(t, mustDial(t, b.Handle, listen(t, echo)))
}

// TestPausedProcess: after a pause of this process (a suspended machine, a
// starved container) the bastion is asked before it is given up.
func TestPausedProcess(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	for _, tt := range []struct {
		name     string
		interval time.Duration
		writing  bool
	}{{"idle", 100 * time.Millisecond, false}, {"waiting", 0, true}} {
		t.Run(tt.name, func(t *testing.T) {
			set := quick()
			set.ServerAliveInterval = tt.interval
			b := newBench(t, set, nil)
			c := mustDial(t, b.Handle, listen(t, echo))
			roundTrip(t, c)
			b.pool.mu.Lock()
			m := b.pool.only()
			b.pool.mu.Unlock()
			// As far as the connection can tell, a minute has passed.
			if tt.writing {
				m.client.SetWaiting(m.client.Age() - 50*time.Second)
			}
			m.client.Transport().SetHeard(m.client.Age() - time.Minute)
			time.Sleep(1500 * time.Millisecond)
			roundTrip(t, c)
		})
	}
}

// TestBlackholesHarmNobody: however many targets do not answer, one that does
// is reached.
func TestBlackholesHarmNobody(t *testing.T) {
	addr := listen(t, echo)
	b := newBench(t, quick(), func(o *sshtest.BastionOptions) {
		o.Dial = func(ctx context.Context, network, target string) (net.Conn, error) {
			if strings.HasPrefix(target, "blackhole") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dialTo(addr)(ctx, network, target)
		}
	})
	var wg sync.WaitGroup
	for _, hole := range []string{"blackhole1:80", "blackhole2:80", "blackhole3:80", "blackhole4:80", "blackhole5:80", "blackhole6:80"} {
		for range maxPendingOpensPerTarget {
			wg.Go(func() { _, _ = dialFor(t, b.Handle, hole, 100*time.Millisecond) })
		}
	}
	wg.Wait()
	c, err := dialFor(t, b.Handle, "web:80", sshtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, c)
}

// TestSameFailureIsLoggedOnce: a bastion that resets every connection does not
// fill the log, though each error names another port of ours.
func TestSameFailureIsLoggedOnce(t *testing.T) {
	set := quick()
	logs := observed(&set)
	addr := listen(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) })
	key := sshtest.NewKey()
	open(t, configFor(t, key, key.Fingerprint(), addr), set)
	failed := func() int { return logs.FilterMessage("connecting failed; will retry").Len() }
	sshtest.Eventually(t, 10*time.Second, "failures", func() bool { return failed() >= 20 })
	warned := 0
	for _, p := range logs.FilterMessage("connecting failed; will retry").All() {
		if p.Level > -1 {
			warned++
		}
	}
	if warned > 6 { // a reset can come at several points
		t.Errorf("%d of %d failures are warnings", warned, failed())
	}
}

// TestTurnedAway: a bastion that says why it lets nobody in is quoted.
func TestTurnedAway(t *testing.T) {
	key := sshtest.NewKey()
	addr := listen(t, func(c net.Conn) {
		go func() { _, _ = io.Copy(io.Discard, c) }()
		_, _ = io.WriteString(c, "Not allowed at this time\r\n")
		time.Sleep(10 * time.Millisecond) // for our version, lest it be reset
	})
	h := open(t, configFor(t, key, key.Fingerprint(), addr), quick())
	_, err := dialFor(t, h, "web:80", sshtest.Patience)
	if want := `it sent "Not allowed at this time" instead of an SSH banner`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestJumpSaysWhy: while the tunnel jumped through is down for long, the inner
// one keeps saying why.
func TestJumpSaysWhy(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	cfg := configFor(t, sshtest.NewKey(), bastion.HostKeyFingerprint(), bastion.Addr()) // a stranger's key
	cfg.Name = "outer"
	outer := open(t, cfg, quick())
	var refused *failure.AuthError
	if _, err := dialFor(t, outer, "web:80", sshtest.Patience); !errors.As(err, &refused) {
		t.Fatalf("got %v, want an AuthError", err)
	}
	host := outer.pool.hosts[0] // past the first, quick attempts
	host.Limiter.Postpone(host.Login(connect.Pace{}).Credentials, time.Now().Add(10*time.Minute))
	set := quick()
	set.ConnectTimeout = 300 * time.Millisecond
	cfg.Name, cfg.Address = "inner", "inner.internal:22"
	inner := Open(cfg, set, outer)
	inner.Start()
	defer closeAndWait(t, inner)
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := dialFor(t, inner, "web:80", sshtest.Patience); !errors.As(err, &refused) {
			t.Fatalf("got %v, want the outer tunnel's AuthError", err)
		}
	}
}

// TestEndIsNoFailure: a connection that we closed is not held against the
// bastion when the tunnel is opened again.
func TestEndIsNoFailure(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Handle, addr))
	closeAndWait(t, b.Handle)
	h := b.pool.hosts[0]
	at, _ := h.Limiter.Due(h.loginWith(b.pool.set), connlimit.Demand{})
	if n, err := h.Limiter.Last(h.loginWith(b.pool.set)); err != nil || time.Until(at) > 0 {
		t.Errorf("%d failures, next attempt in %s: %v", n, time.Until(at), err)
	}
}

// TestCloseDelivers: what was written before a Close arrives, though the target
// is slow to read it.
func TestCloseDelivers(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			set := quick()
			set.Linger = 2 * time.Second // for servers that say CLOSE before they have delivered
			h := open(t, s.start(t), set)
			const size = 5 << 20
			got := make(chan int64, 1)
			addr := listen(t, func(c net.Conn) {
				time.Sleep(500 * time.Millisecond)
				n, _ := io.Copy(io.Discard, c)
				got <- n
			})
			c := mustDial(t, h, addr)
			if _, err := c.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			_ = c.Close()
			h.Close() // the tunnel lives until it is delivered
			if n := <-got; n != size {
				t.Errorf("%d of %d bytes arrived", n, size)
			}
		})
	}
}

// TestSlowLinkIsAlive: a delay longer than server_alive_interval is no death.
func TestSlowLinkIsAlive(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	set := quick()
	set.ServerAliveInterval, set.ServerAliveCountMax = time.Second, 20 // the machine may be slow as well
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Handle, addr))
	b.link.SetDelay(800 * time.Millisecond)
	roundTrip(t, mustDial(t, b.Handle, addr))
	if n := b.bastion.Stats().Logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}
