package contract

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestNoPackets has QUIC's calls on what stands for its socket.
func TestNoPackets(t *testing.T) {
	got, err := listenNoPackets(t.Context(), "", "", "", 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	c := got.(net.PacketConn)
	if n, err := c.WriteTo(make([]byte, 1200), &net.UDPAddr{}); n != 1200 || err != nil {
		t.Errorf("writing: %d, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Now())
	if _, _, err := c.ReadFrom(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading at the deadline: %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	ended := make(chan error)
	go func() {
		_, _, err := c.ReadFrom(make([]byte, 1200))
		ended <- err
	}()
	_ = c.Close()
	if err := <-ended; err == nil {
		t.Error("reading goes on after Close")
	}
}
