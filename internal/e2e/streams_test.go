//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// streams_test.go has what goes both ways at once: WebSockets and the raw
// connections of the listener wrapper.

// echo sends back what it gets, then the end of the stream.
func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

// conn is a connection on which something comes back for what is sent.
type conn struct {
	net.Conn
	t *testing.T
}

// exchange sends a message and fails the test unless it comes back.
func (c *conn) exchange(message string) {
	c.t.Helper()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, message); err != nil {
		c.t.Fatalf("sending %q: %v", message, err)
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(c, got); err != nil {
		c.t.Fatalf("receiving %q: %v", message, err)
	}
	if string(got) != message {
		c.t.Fatalf("got %q for %q", got, message)
	}
}

// websocket opens a WebSocket to the private web server.
func (c *caddy) websocket() *conn {
	c.t.Helper()
	return c.websocketTo("/ws")
}

// websocketTo is websocket with another path.
func (c *caddy) websocketTo(path string) *conn {
	c.t.Helper()
	ws, err := websocket.Dial(fmt.Sprintf("ws://127.0.0.1:%d%s", c.port, path), "", "http://127.0.0.1")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = ws.Close() })
	return &conn{ws, c.t}
}

// wrapper is the global option that forwards the connections to a port of ours
// to echo.internal. A site must be there as well.
func wrapper(port int) string {
	return fmt.Sprintf("servers 127.0.0.1:%d {\nlistener_wrappers {\nssh_tunnel prod echo.internal:7\n}\n}\n", port)
}

// dialRaw connects to the listener wrapper.
func dialRaw(t *testing.T, port int) *conn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &conn{c, t}
}
