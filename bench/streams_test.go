package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// countNew counts a server's connections.
func countNew(n *atomic.Int32) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

// TestStreams opens streams of both kinds, finds them alive, twice, and finds
// out if one is not.
func TestStreams(t *testing.T) {
	const count = 40
	for _, kind := range []streamKind{webSockets, serverSentEvents} {
		t.Run(kind.name, func(t *testing.T) {
			server := httptest.NewServer(newWeb())
			defer server.Close()
			addr := server.Listener.Addr().String()
			streams, err := openStreams(t.Context(), kind, addr, count)
			defer closeStreams(streams)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := checkStreams(t.Context(), kind, addr, streams); err != nil {
					t.Fatal(err)
				}
			}
			_ = streams[count/2].conn.Close()
			if err := checkStreams(t.Context(), kind, addr, streams); err == nil {
				t.Error("a stream that was closed counts as alive")
			}
		})
	}
}

// TestStreamsRefused is that what is no stream is an error.
func TestStreamsRefused(t *testing.T) {
	for _, kind := range []streamKind{webSockets, serverSentEvents} {
		server := httptest.NewServer(http.NotFoundHandler())
		streams, err := openStreams(t.Context(), kind, server.Listener.Addr().String(), 3)
		if err == nil || !strings.Contains(err.Error(), "status 404") {
			t.Errorf("%s: %v", kind.name, err)
		}
		closeStreams(streams)
		server.Close()
	}
}

// TestWebSocketAccept is the example of RFC 6455, section 1.3.
func TestWebSocketAccept(t *testing.T) {
	if got := webSocketAccept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Error(got)
	}
}

// TestRelay is that the link is as fast as it should be and not faster, and
// that its queue is short: what is sent beside a bulk transfer waits for the
// queue and the delay, and for no more.
func TestRelay(t *testing.T) {
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
	speed := linkSpeed{bandwidth: 4e6, delay: 20 * time.Millisecond}
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
		_ = conn.SetDeadline(start.Add(10 * time.Second))
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
	if rate > 1.1*speed.bandwidth || rate < 0.5*speed.bandwidth {
		t.Errorf("a link of %.0f bytes a second moves %.0f", speed.bandwidth, rate)
	}
	// The queue is 16 ms long. A queue of a megabyte would be 250 ms.
	if took := ask(); took < 2*speed.delay || took > 2*speed.delay+200*time.Millisecond {
		t.Errorf("beside a bulk transfer the link answered after %v", took)
	}
}
