package pool

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// closedConn is an SSH connection that has ended for a reason.
type closedConn struct {
	ssh.Conn
	why error
}

func (c closedConn) Wait() error { return c.why }
func (closedConn) Close() error  { return nil }

// TestLossBeforeItsWatch: the log says why a connection was lost, also if another
// one is there before its watch has had time to.
func TestLossBeforeItsWatch(t *testing.T) {
	t.Parallel()
	connect := func(why error) (*member, net.Conn) {
		ours, theirs := net.Pipe()
		m := newTestMember(anyClass, 0, 0)
		m.client = sshconn.New(wire.New(ours, sshconn.StallAfter), closedConn{why: why}, sshconn.About{})
		m.attempt = &connect.Attempt{}
		return m, theirs
	}
	old, other := connect(errors.New("wrote too much"))
	defer other.Close()
	p := crew(1, 1, old)
	defer p.end()
	logs := observed(&p.set)
	_ = old.client.Transport().Close()
	next, another := connect(failure.ErrClosed)
	defer another.Close()
	defer next.client.Close(failure.ErrClosed)
	next.pool, next.host = p, p.failback.inUse
	p.connected(next, 0)
	if lost := logs.FilterMessage("connection lost").FilterField(zapcore.Field{Key: "error", Type: zapcore.ErrorType, Interface: printable.Error(errors.New("wrote too much"))}); lost.Len() != 1 {
		t.Errorf("logged %v", logs.All())
	}
}

// deafConn fails to write from some byte on.
type deafConn struct {
	net.Conn
	left int
}

func (c *deafConn) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// TestWriteFailsInLogin: the error of a login says what has ended it, and not what
// came of that.
func TestWriteFailsInLogin(t *testing.T) {
	key := sshtest.NewKey()
	b := bastionFor(t, key, nil)
	cfg, set := configFor(t, key, b.HostKeyFingerprint(), b.Addr()), quick()
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return &deafConn{c, 100}, err
	}
	logs := observed(&set)
	open(t, cfg, set)
	sshtest.Eventually(t, 10*time.Second, "a failure", func() bool { return logs.FilterMessageSnippet("connecting failed").Len() > 0 })
	for _, p := range logs.FilterMessageSnippet("connecting failed").All() {
		if text := fmt.Sprint(p.Message, " ", p.ContextMap()); !strings.Contains(text, "broken pipe") || strings.Contains(text, "use of closed") {
			t.Errorf("logged %s", text)
		}
	}
}
