package sshtunnel

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
)

// TestMaxConnectionsAcrossReload: the listener of the next configuration counts
// what is left of the last.
func TestMaxConnectionsAcrossReload(t *testing.T) {
	target, front := caddytest.ListenAndCount(t), caddytest.Loopback(t)
	w := &ListenerWrapper{TunnelName: "prod", Target: target.Addr().String(), ForwardOptions: config.ForwardOptions{MaxConnections: 1}}
	if err := w.provision(zap.NewNop(), new(caddytest.Tunnel)); err != nil {
		t.Fatal(err)
	}
	before := w.WrapListener(caddytest.NewPipeListenerAt(front.Addr()))
	after := w.WrapListener(front)
	go func() { _, _ = before.Accept() }()
	go func() { _, _ = after.Accept() }()

	first := caddytest.DialTCP(t, front.Addr().String())
	_, _ = io.WriteString(first, "hello")
	caddytest.Expect(t, target.Conns, []byte("hello"))
	_ = before.Close()
	second, err := net.Dial("tcp", front.Addr().String()) // the reset may come this early
	if err == nil {
		_, err = second.Read(make([]byte, 1))
		_ = second.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the second connection ends with %v", err)
	}
	_ = after.Close()
	// The first connection goes on. Its count is nobody's any more.
	count, release := rawconn.CountFor(rawconn.Key{Network: "tcp", Address: front.Addr().String(), Tunnel: "prod", Target: w.target})
	defer release()
	if n := count.Open(); n != 0 {
		t.Errorf("a listener that comes later counts %d connections", n)
	}
}
