package tunnel

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

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
		return h.pool.Waiting() > 0
	})
	h.Close()
	time.Sleep(50 * time.Millisecond) // room for the pool to end
	bastion.Misbehave(sshtest.Faults{})
	if err := <-dialed; err != nil {
		t.Errorf("dial across Close: %v", err)
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
	postpone(outer) // past the first, quick attempts
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

// TestCloseDelivers: what was written before a Close arrives, though the target
// is slow to read it.
func TestCloseDelivers(t *testing.T) {
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			set := quick()
			set.Linger = 2 * time.Second // for servers that say CLOSE before they have delivered
			h := open(t, s.Start(t), set)
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
