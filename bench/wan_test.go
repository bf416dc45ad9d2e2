package main

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestWANLink: what goes over a long link takes its time, and arrives whole whatever is
// lost.
func TestWANLink(t *testing.T) {
	sshtest.Takes(t, time.Second)
	if missing := missingWAN(); missing != "" {
		sshtest.Missing(t, missing)
	}
	var port atomic.Int64
	profile := wanProfile{rtt: 60 * time.Millisecond, loss: 0.01, bandwidth: wanBandwidth}
	link, err := startWANLink(profile, func(p uint16) bool { return int64(p) == port.Load() })
	if err != nil {
		t.Skip(err)
	}
	defer link.close()
	listener, err := net.Listen("tcp", net.JoinHostPort(wanHost.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	address := listener.Addr().(*net.TCPAddr)
	port.Store(int64(address.Port))
	go func() { // returns when the client has closed
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
	start := time.Now()
	conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: wanPeer.AsSlice(), Port: address.Port})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if took := time.Since(start); took < profile.rtt {
		t.Errorf("connected within %v", took)
	}
	const size = 1 << 20
	go func() {
		_, _ = io.CopyN(conn, zeros{}, size)
		_ = conn.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	if took := time.Since(start); took < 2*profile.rtt {
		t.Errorf("an echo within %v", took)
	}
}
