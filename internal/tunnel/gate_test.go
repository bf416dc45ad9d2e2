package tunnel

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestConnectsAtATime: of many tunnels to a bastion that is slow, a few connect
// at a time: more than one, and no more than a server lets in.
func TestConnectsAtATime(t *testing.T) {
	const atATime = 3
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	roundTrip(t, dial(t, b.Handle, addr))
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
		roundTrip(t, dial(t, h, addr))
	}
}
