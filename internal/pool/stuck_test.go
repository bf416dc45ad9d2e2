package pool

import (
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// closedOn returns a channel of a connection that we have closed just now, and the bastion
// has not.
func closedOn(m *member) *Conn {
	c := sshconn.ClosedConn(m.client)
	m.channels++
	m.Opened(c)
	return c
}

// stuckCrew is a tunnel with one connection, on which n channels get stuck.
func stuckCrew(n int) (p *Pool, m *member, closed []*Conn) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	m = newTestMember(Request, 0, 0)
	m.client = clientOn(ours)
	m.opens = newOpenLimiter()
	p = crew(1, 8, m)
	m.conns = map[*Conn]*activity{}
	for range n {
		closed = append(closed, closedOn(m))
	}
	return p, m, closed
}

// TestStuck: channels that the bastion does not close have the connection
// replaced when they are many, and count no more when it drains. One that is in
// use does.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, l, closed := stuckCrew(stuckLimit)
		defer e.end()
		e.updateLoad(l)
		if why, _ := l.dueForReplacement(e.set); why != "" {
			t.Fatal("replaced for channels that have only just been closed")
		}
		time.Sleep(time.Minute)
		e.updateLoad(l)
		if why, _ := l.dueForReplacement(e.set); why != reasonStuck {
			t.Fatal("not replaced")
		}

		used := new(Conn)
		l.channels++
		l.Opened(used)
		e.mu.Lock()
		e.startDrain(l)
		e.mu.Unlock()
		l.Closed(closed[0]) // the bastion has closed it after all
		e.updateLoad(l)
		time.Sleep(2 * drainLinger)
		synctest.Wait()
		if l.client.IsDone() {
			t.Fatal("cut off a channel that is in use")
		}
		l.Closed(used)
		time.Sleep(2 * drainLinger)
		synctest.Wait()
		if !errors.Is(l.client.Err(), failure.ErrClosed) {
			t.Error("stuck channels keep a connection that drains")
		}
	})
}

// TestStuckOnServers: sshd keeps a channel whose target has stopped reading, and we
// know of it.
func TestStuckOnServers(t *testing.T) {
	for _, s := range tunneltest.Servers {
		if s.Name == "embedded" { // closes it
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			stop := make(chan struct{})
			defer close(stop)
			addr := listen(t, func(net.Conn) { <-stop })
			h := open(t, s.Start(t), quick())
			c := mustDial(t, h, addr)
			for written := 1; written > 0; { // until nothing moves any more
				_ = c.SetWriteDeadline(time.Now().Add(time.Second))
				written, _ = c.Write(make([]byte, 64<<10))
			}
			_ = c.Close()
			c.SendClose(time.Minute) // a minute early
			p, m := h, linkOf(c)
			sshtest.Eventually(t, 10*time.Second, "a stuck channel", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return m.stuck == 1 && m.live() == 0
			})
			p.replace(m, reasonRequested, "the test wants it")
			sshtest.Eventually(t, 10*time.Second, "the end of the connection", func() bool {
				p.mu.Lock()
				defer p.mu.Unlock()
				return !slices.Contains(p.members, m)
			})
			roundTrip(t, mustDial(t, h, listen(t, echo)))
		})
	}
}
