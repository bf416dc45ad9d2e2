package clienthello

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestSuccessor finds the listener in another one's place.
func TestSuccessor(t *testing.T) {
	before := len(places)
	var adopted string
	first, second, third := new(int), new(int), new(int)
	open := func(name string, owner *int, port int) *Place {
		p := Register(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, owner, func(net.Conn) bool {
			adopted = name
			return true
		})
		t.Cleanup(p.Unregister)
		return p
	}
	a, b := open("a", first, 443), open("b", first, 443)
	other := open("other", first, 80)
	expect := func(l *Place, want string) {
		t.Helper()
		adopted = ""
		if ok := l.handOver(nil); ok != (want != "") || adopted != want {
			t.Errorf("got %q, want %q", adopted, want)
		}
	}
	expect(a, "")
	expect(b, "")
	a.Unregister()
	expect(a, "")

	a2, b2 := open("a2", second, 443), open("b2", second, 443)
	expect(a, "a2")
	expect(b, "b2")
	expect(other, "")
	open("a3", third, 443)
	expect(a, "a3")
	expect(b, "a3") // there are fewer now
	expect(b2, "a3")
	a2.Unregister()
	if n := len(places) - before; n != 4 {
		t.Errorf("%d listeners are left", n)
	}

	// One that no longer takes any is forgotten.
	gone := Register(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}, new(int), func(net.Conn) bool { return false })
	expect(a, "a3")
	if n := len(places) - before; gone.position != 0 || n != 4 {
		t.Errorf("%d listeners are left", n)
	}
}

// TestHandOver closes a listener while a client has not finished what decides
// its fate. Another configuration's listener has taken its place by then.
func TestHandOver(t *testing.T) {
	ca := sshtest.NewCA()
	// With TLS 1.3 both ends may write at the same time, and a pipe has no buffer: they
	// could wait for each other.
	config := &tls.Config{Certificates: []tls.Certificate{ca.Issue("www.example.com")}, MaxVersion: tls.VersionTLS12} //nolint:gosec // G402: for a pipe
	// The bubble's time is another.
	now := func() time.Time { return config.Certificates[0].Leaf.NotBefore }
	withTLS := func(ln net.Listener) net.Listener { return tls.NewListener(ln, config) }
	plain := func(ln net.Listener) net.Listener { return ln }
	for name, tt := range map[string]struct {
		wrap  func(net.Listener) net.Listener
		speak func(net.Conn) // ends with a line
	}{
		"before TLS": {plain, func(c net.Conn) { _, _ = io.WriteString(c, "hello\n") }},
		"after TLS": {withTLS, func(c net.Conn) {
			conn := tls.Client(c, &tls.Config{RootCAs: ca.Pool(), ServerName: "www.example.com", Time: now})
			_ = conn.HandshakeContext(context.Background())
			_, _ = io.WriteString(conn, "hello\n")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}
				inner, nextInner := caddytest.NewPipeListenerAt(address), caddytest.NewPipeListenerAt(address)
				before := matchingFor(t, new(int), tt.wrap(inner), new(caddytest.Tunnel), "git.internal:443", sniGit)
				passed := left(t, before)
				conn := inner.Dial()
				defer conn.Close()
				synctest.Wait()
				after := matchingFor(t, new(int), tt.wrap(nextInner), new(caddytest.Tunnel), "git.internal:443", sniGit)
				_ = before.Close()
				time.Sleep(closedMatchTimeout / 2)

				go tt.speak(conn)
				got, err := after.Accept()
				if err != nil {
					t.Fatal(err)
				}
				if line, err := bufio.NewReader(got).ReadString('\n'); line != "hello\n" {
					t.Errorf("got %q (%v)", line, err)
				}
				_ = got.Close()
				if _, open := <-passed; open {
					t.Error("the server that shuts down got it")
				}
				_ = after.Close()
			})
		})
	}
}
