package pool

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// attack_test.go keeps what went wrong at an edge, or could have.

// TestEndOnDrainingLink: a stream whose both ends are done, but which has not
// been read to its end, holds up the drain of its connection: it is not cut.
func TestEndOnDrainingLink(t *testing.T) {
	sshtest.Takes(t, time.Second)
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			const size = 100_000
			// The target takes a request to its end, and then closes first.
			addr := listen(t, func(c net.Conn) {
				_, _ = io.Copy(io.Discard, c)
				_, _ = c.Write(make([]byte, size))
			})
			c := mustDial(t, h, addr)
			h.mu.Lock()
			m := h.only()
			h.mu.Unlock()
			h.replace(m, reasonRequested, "test")
			sshtest.Eventually(t, 5*time.Second, "a replacement", func() bool {
				h.mu.Lock()
				defer h.mu.Unlock()
				return h.only() != m
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

// TestStillborn: a connection that is lost in the moment it was made, before
// anybody could use it, is replaced like any other.
func TestStillborn(t *testing.T) {
	set := quick()
	set.Lazy = true // so that we are the ones who connect
	b := newBench(t, set, nil)
	p := b.Pool
	c, failed := p.connector.Connect(t.Context(), p.connector.Hosts())
	if c == nil {
		t.Fatal(failed)
	}
	l := p.newMember(c)
	c.Start(l)
	l.client.Close(io.EOF)
	time.Sleep(50 * time.Millisecond) // its death becomes known
	p.connected(l, time.Second)
	roundTrip(t, mustDial(t, b.Pool, listen(t, echo)))
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
			c := mustDial(t, b.Pool, listen(t, echo))
			roundTrip(t, c)
			b.mu.Lock()
			m := b.only()
			b.mu.Unlock()
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

// TestSameFailureIsLoggedOnce: a bastion that resets every connection does not
// fill the log, though each error names another port of ours.
func TestSameFailureIsLoggedOnce(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
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

// TestEndIsNoFailure: a connection that we closed is not held against the
// bastion when the tunnel is opened again.
func TestEndIsNoFailure(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Pool, addr))
	closeAndWait(t, b.Pool)
	h := b.hosts[0]
	at, _ := h.Limiter.Due(h.loginWith(b.set), connlimit.Demand{})
	if n, err := h.Limiter.Last(h.loginWith(b.set)); err != nil || time.Until(at) > 0 {
		t.Errorf("%d failures, next attempt in %s: %v", n, time.Until(at), err)
	}
}

// TestSlowLinkIsAlive: a delay longer than server_alive_interval is no death.
func TestSlowLinkIsAlive(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	set := quick()
	set.ServerAliveInterval, set.ServerAliveCountMax = time.Second, 20 // the machine may be slow as well
	b := newBench(t, set, nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Pool, addr))
	b.link.SetDelay(800 * time.Millisecond)
	roundTrip(t, mustDial(t, b.Pool, addr))
	if n := b.bastion.Stats().Logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
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
			wg.Go(func() { _, _ = dialFor(t, b.Pool, hole, 100*time.Millisecond) })
		}
	}
	wg.Wait()
	c, err := dialFor(t, b.Pool, "web:80", sshtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, c)
}
