package tunnel

import (
	"math"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// farAway is a link's delay, each way, beside which nothing else takes long.
const farAway = 100 * time.Millisecond

// TestLoginTrips: a login takes as many round trips as one of ssh, besides TCP's: versions
// and algorithms, key exchange, service, none, whether the key will do, and its signature. It
// takes no more if there are other hosts to turn to.
func TestLoginTrips(t *testing.T) {
	t.Parallel()
	for name, others := range map[string]int{"one host": 0, "two hosts": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := sshtest.NewKey()
			bastion := bastionFor(t, key, nil)
			link := sshtest.NewLink(t, bastion.Addr())
			link.SetDelay(farAway)
			cfg := configFor(t, key, bastion.HostKeyFingerprint(), link.Addr())
			for range others {
				cfg.Fallbacks = append(cfg.Fallbacks, freeAddr(t))
			}
			set := quick()
			set.ServerAliveInterval = -1 // no probe beside it
			fewest := math.Inf(1)        // a busy machine may make it more, and nothing less
			for try := 0; try < 5 && fewest > 6; try++ {
				trips := link.CountTrips()
				h := open(t, cfg, set)
				if err := h.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				fewest = min(fewest, trips())
				closeAndWait(t, h)
			}
			if fewest > 6 {
				t.Errorf("%.1f round trips", fewest)
			}
		})
	}
}

// TestChannelTrips: a channel opens in one round trip, however many open at once, and an
// answer takes one.
func TestChannelTrips(t *testing.T) {
	t.Parallel()
	set := quick()
	set.ServerAliveInterval = -1
	b := newBench(t, set, nil)
	if err := b.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	addr := listen(t, echo)
	b.link.SetDelay(5 * farAway) // all are sent before the first is answered
	trips := b.link.CountTrips()
	conns := make(chan *Conn, 20)
	for range cap(conns) {
		go func() {
			c, _ := b.Dial(t.Context(), Target{Network: "tcp", Address: addr})
			conns <- c
		}()
	}
	var last *Conn
	for range cap(conns) {
		c := <-conns
		if c == nil {
			t.Fatal("a channel does not open")
		}
		t.Cleanup(func() { _ = c.Close() })
		last = c
	}
	if n := trips(); n > 1 {
		t.Errorf("%d channels take %.1f round trips", cap(conns), n)
	}
	b.link.SetDelay(farAway)
	trips = b.link.CountTrips()
	roundTrip(t, last)
	if n := trips(); n > 1 {
		t.Errorf("an answer takes %.1f round trips", n)
	}
}
