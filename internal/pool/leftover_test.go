package pool

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// slowToClose is a connection whose Close waits, once it has begun, until it may
// end.
type slowToClose struct {
	net.Conn
	once       sync.Once
	begun, end chan struct{}
}

func (c *slowToClose) Close() error {
	c.once.Do(func() { close(c.begun) })
	<-c.end
	return c.Conn.Close()
}

// TestLateOpen: a channel that is opened when x/crypto has given a connection up,
// over a breach of the protocol, and not closed it yet, fails at once.
func TestLateOpen(t *testing.T) {
	t.Parallel()
	key := sshtest.NewKey()
	malice := sshtest.NewMalice(t, key, "", loggedIn(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.ChannelData{Theirs: 4242, Data: "of no channel"})
		c.Await(time.Minute)
	}))
	conn, err := net.Dial("tcp", malice.Addr())
	if err != nil {
		t.Fatal(err)
	}
	w := wire.New(conn, sshconn.StallAfter)
	slow := &slowToClose{Conn: w, begun: make(chan struct{}), end: make(chan struct{})}
	w.Advance(wire.StageOpen)
	sc, channels, requests, err := ssh.NewClientConn(slow, malice.Addr(), &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(key.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	p := crew(1, 8)
	client := sshconn.New(w, sc, sshconn.About{})
	m := p.newMember(&connect.Connection{Host: p.failback.inUse.Host, Client: client})
	client.Start(m, channels, requests)
	<-slow.begun

	r, err := newOpenRequest(Target{Network: "tcp", Address: "web:80"})
	if err != nil {
		t.Fatal(err)
	}
	m.pool.take(m, p.placement(r).line)
	if _, err := p.openOn(t.Context(), m, r, true); !errors.Is(err, sshconn.ErrLost) {
		t.Errorf("got %v", err)
	}
	close(slow.end)
	sshtest.Eventually(t, 10*time.Second, "the end of the open", func() bool { return m.opens.pending() == 0 })
}
