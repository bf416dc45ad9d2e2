package remote

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// connection is an SSH connection that nobody counts the channels of.
type connection struct {
	Connection
	client *sshconn.Client
}

func (c *connection) Client() *sshconn.Client { return c.client }
func (c *connection) Hold()                   {}
func (c *connection) Release()                {}

// prober is an SSH connection that answers probes.
type prober struct{ ssh.Conn }

func (prober) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	return nil, nil, &ssh.OpenChannelError{Reason: ssh.UnknownChannelType}
}

// owner is that of a client whose channels come and go.
type owner struct{ sshconn.Owner }

func (owner) Opened(*sshconn.Conn) {}
func (owner) Closed(*sshconn.Conn) {}

func (owner) Probed(time.Duration) {}
func (owner) Stalled(string)       {}
func (owner) Responds()            {}

// stalledOpen is a channel of a bastion's whose accept waits: what is written to the
// connection does not go out.
type stalledOpen struct {
	ssh.NewChannel
	out <-chan struct{}
}

func (o stalledOpen) Accept() (ssh.Channel, <-chan *ssh.Request, error) {
	<-o.out
	return nil, nil, errors.New("connection lost")
}

// TestAcceptStalled: a connection that takes no writes does not hold up Accept. What
// was accepted on it can be given deadlines, and closed.
func TestAcceptStalled(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	client := sshconn.New(wire.New(ours, sshconn.StallAfter), prober{}, sshconn.About{})
	client.SetOwner(owner{})
	on := &connection{client: client}
	out := make(chan struct{})
	defer close(out)
	f := &forward{all: New(t.Context(), "test", nil, new(atomic.Int64)), address: address{path: "/run/s"}}
	done := make(chan struct{})
	// Returns at once, or never.
	go func() {
		defer close(done)
		for range 2 {
			c := (&inbound{on: on, forward: f, open: stalledOpen{out: out}, local: f.address.addr(), remote: f.address.addr()}).accept()
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Errorf("writing: %v", err)
			}
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("reading: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("accepting took longer than 10s")
	}
}
