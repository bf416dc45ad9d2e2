package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
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
