package pool

import (
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// TestEndNeedsNoProof: the end of a stream that the target has half-closed is known
// at once, and not when the bastion has answered a probe.
func TestEndNeedsNoProof(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	<-linkOf(mustDial(t, b.Pool, listen(t, echo))).client.Probe() // it answers probes, so far
	b.bastion.Misbehave(sshtest.Faults{HoldRequests: true})
	c := mustDial(t, b.Pool, listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}))
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestWriteAfterClose: a channel that the bastion has closed takes nothing more.
func TestWriteAfterClose(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	b.bastion.Misbehave(sshtest.Faults{CloseChannels: true})
	c := mustDial(t, b.Pool, listen(t, echo))
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read: %v", err)
	}
	<-c.ClosedByPeer()
	if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
}

// TestLargeOpens: a channel that the bastion opens with more than makes sense is
// refused: x/crypto keeps all of it for as long as the channel lives.
func TestLargeOpens(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	addr := freeAddr(t)
	serve(t, listenRemote(t, b.Pool, "tcp", addr), echoBack)
	serving(t, "tcp", addr)
	conn := b.bastion.Conns()[0]
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]bool{0: true, remote.MaxOpenPayload + 1: false, 250 << 10: false} {
		originator := "192.0.2.1" + strings.Repeat("1", size)
		payload := tunneltest.ForwardedTCPIP(host, uint32(n), originator, 1)
		ch, requests, err := conn.OpenChannel("forwarded-tcpip", payload)
		if (err == nil) != want {
			t.Errorf("%d bytes more: %v", size, err)
		}
		if err == nil {
			go ssh.DiscardRequests(requests)
			_ = ch.Close()
		}
	}
}
