package main

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestRelay is that the link is as fast as it should be and not faster, and
// that its queue is short: what is sent beside a bulk transfer waits for the
// queue and the delay, and for no more.
func TestRelay(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var received atomic.Int64
	go func() { // returns when the listener is closed
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { // returns when the connection ends
				defer conn.Close()
				buf := make([]byte, 32<<10)
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					received.Add(int64(n))
					if n == 1 { // from the one that asks for an answer
						_, _ = conn.Write(buf[:1])
					}
				}
			}()
		}
	}()
	speed := linkSpeed{bandwidth: 4e5, delay: 20 * time.Millisecond}
	r, err := startRelay(listener.Addr().String(), speed)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()

	ask := func() time.Duration {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := time.Now()
		_ = conn.SetDeadline(start.Add(time.Minute))
		if _, err := conn.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	if took := ask(); took < 2*speed.delay {
		t.Errorf("an idle link of %v each way answered after %v", speed.delay, took)
	}

	bulk, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer bulk.Close()
	go func() { // returns when bulk is closed
		chunk := make([]byte, 32<<10)
		for {
			if _, err := bulk.Write(chunk); err != nil {
				return
			}
		}
	}()
	time.Sleep(300 * time.Millisecond)
	before, start := received.Load(), time.Now()
	time.Sleep(time.Second)
	rate := float64(received.Load()-before) / time.Since(start).Seconds()
	if rate > 1.5*speed.bandwidth || rate == 0 {
		t.Errorf("a link of %.0f bytes a second moves %.0f", speed.bandwidth, rate)
	}
	// The queue is 16 ms long. A queue of a megabyte would be 2.5 s. A busy
	// machine may be late, but not each time.
	best := time.Hour
	for range 5 {
		best = min(best, ask())
	}
	if best < 2*speed.delay || best > 2*speed.delay+2*time.Second {
		t.Errorf("beside a bulk transfer the link answered after %v at best", best)
	}
}
