package tunnel

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestConnectsAtATime: of many tunnels to a bastion that is slow, a few connect
// at a time: more than one, and no more than a server lets in.
func TestConnectsAtATime(t *testing.T) {
	const atATime = 3
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, mustDial(t, b.Handle, addr))
	b.bastion.Misbehave(sshtest.Faults{HoldAuth: true})
	before := b.link.Accepted()
	var handles []*Handle
	for i := range 2 * atATime {
		cfg := b.cfg
		cfg.Name = fmt.Sprintf("t%d", i)
		handles = append(handles, open(t, cfg, quick()))
	}
	sshtest.Eventually(t, 5*time.Second, "the first connects", func() bool { return b.link.Accepted()-before == atATime })
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		if n := b.link.Accepted() - before; n != atATime {
			t.Fatalf("%d connects at a time", n)
		}
	}
	b.bastion.Misbehave(sshtest.Faults{})

	for _, h := range handles {
		roundTrip(t, mustDial(t, h, addr))
	}
}

// TestConnectsApart: a proxy that hangs holds up nobody who takes another way to
// what has the same address, and is another machine for all that is known.
func TestConnectsApart(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	hung := make(chan struct{}, connlimit.MaxConnects)
	proxy := listen(t, func(c net.Conn) {
		hung <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})
	for i := range connlimit.MaxConnects {
		cfg := b.cfg
		cfg.Name, cfg.User = fmt.Sprintf("t%d", i), fmt.Sprintf("u%d", i) // or one would try for all
		cfg.Proxy = &dial.Proxy{Scheme: "http", Address: proxy}
		open(t, cfg, quick())
	}
	for range connlimit.MaxConnects {
		<-hung
	}
	cfg := b.cfg
	cfg.Name = "direct"
	c, err := dialFor(t, open(t, cfg, quick()), addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, c)
}
