package pool

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
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
