package sshtest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// malice.go is a bastion that means harm. It speaks SSH by itself, packet by
// packet, so that it can say what a server must not.

// Script is what a Malice does with one connection, which is closed when the
// script returns.
type Script func(c *MaliceConn)

// Malice is a server that treats its clients as a script says. With no script it
// is good: it passes connections on to a bastion.
type Malice struct {
	listener net.Listener
	hostKey  ssh.Signer
	good     string
	ctx      context.Context // done when it closes
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	// done counts what scripts have done, as they tell by MaliceConn.Did.
	done atomic.Int64

	// mu guards what is below.
	mu     sync.Mutex
	script Script
	conns  map[net.Conn]bool
	count  int
}

// NewMalice starts a Malice that is closed when the test ends. It has the host
// key of the bastion at the address good, which it becomes when it reforms.
func NewMalice(t testing.TB, hostKey ssh.Signer, good string, script Script) *Malice {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &Malice{listener: listener, hostKey: hostKey, good: good, script: script, conns: map[net.Conn]bool{}}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.wg.Go(m.acceptLoop)
	t.Cleanup(m.close)
	return m
}

// Addr returns the "host:port" that it listens on.
func (m *Malice) Addr() string { return m.listener.Addr().String() }

// Connections returns how many there were.
func (m *Malice) Connections() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// Ended returns how many of them have ended.
func (m *Malice) Ended() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count - len(m.conns)
}

// Done returns how much harm was tried.
func (m *Malice) Done() int64 { return m.done.Load() }

// Reform ends all connections, and has later ones be good.
func (m *Malice) Reform() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.script = nil
	for c := range m.conns {
		_ = c.Close()
	}
}

// close returns when all connections have ended.
func (m *Malice) close() {
	m.cancel()
	_ = m.listener.Close()
	m.Reform()
	m.wg.Wait()
}

// acceptLoop returns when the listener is closed.
func (m *Malice) acceptLoop() {
	for {
		c, err := m.listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		script := m.script
		m.conns[c] = true
		m.count++
		number := m.count
		closing := m.ctx.Err() != nil
		m.mu.Unlock()
		m.wg.Go(func() {
			defer func() {
				_ = c.Close()
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(m.conns, c)
			}()
			switch {
			case closing:
			case script == nil:
				m.relay(c)
			default:
				script(&MaliceConn{Conn: c, malice: m, number: number, read: plainCipher{}, written: plainCipher{}})
			}
		})
	}
}

// relay passes a connection on to the good bastion. It returns when either has
// closed it.
func (m *Malice) relay(c net.Conn) {
	to, err := net.Dial("tcp", m.good)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	m.wg.Go(func() {
		_, _ = io.Copy(to, c)
		_ = to.Close()
	})
	_, _ = io.Copy(c, to)
	_ = c.Close()
}

// MaliceConn is a connection in the hands of a Script. One goroutine may read
// packets while others send them.
type MaliceConn struct {
	net.Conn
	malice *Malice
	number int

	// client and server are the version lines; session is the session's
	// identifier, or nil before the first key exchange.
	client, server string
	session        []byte
	read           packetCipher

	// mu guards what is below, and keeps packets in one piece.
	mu      sync.Mutex
	written packetCipher
	holding bool
	held    []byte // packets that go out together, when holding ends
}

// Did counts harm done.
func (c *MaliceConn) Did(n int) { c.malice.done.Add(int64(n)) }

// Number is how many connections there were with this one.
func (c *MaliceConn) Number() int { return c.number }

// Await waits until the client has closed the connection, or the time is over.
// What comes in is thrown away.
func (c *MaliceConn) Await(limit time.Duration) {
	_ = c.SetReadDeadline(time.Now().Add(limit))
	_, _ = io.Copy(io.Discard, c.Conn)
}

// Login is a proper one: versions, key exchange, and whoever comes may pass. It
// reports whether the client went along.
func (c *MaliceConn) Login() bool {
	return c.Greet("SSH-2.0-malice") == nil && c.Exchange(Offer{}) == nil && c.Admit() == nil
}

// Request answers the request for the authentication service, and returns the
// next packet after it: the first attempt to authenticate.
func (c *MaliceConn) Request() ([]byte, error) {
	if _, err := c.Next(msgServiceRequest); err != nil {
		return nil, err
	}
	if err := c.Send(serviceAccept{"ssh-userauth"}); err != nil {
		return nil, err
	}
	return c.Next(msgUserauthRequest)
}

// Admit lets the client in, whoever it is.
func (c *MaliceConn) Admit() error {
	if _, err := c.Request(); err != nil {
		return err
	}
	return c.SendPacket([]byte{msgUserauthSuccess})
}

// Refuse tells the client which methods would let it in, and awaits its next
// attempt.
func (c *MaliceConn) Refuse(methods ...string) error {
	if err := c.Send(userauthFailure{Methods: methods}); err != nil {
		return err
	}
	_, err := c.Next(msgUserauthRequest)
	return err
}

// Listen reads what comes and throws it away, until the connection has ended.
// It answers opens if a test wants it to: the client's channel 0 is then ours, too.
func (c *MaliceConn) Listen(open bool) {
	for {
		packet, err := c.ReadPacket()
		if err != nil {
			return
		}
		if packet[0] != msgChannelOpen || !open {
			continue
		}
		var m channelOpen
		if ssh.Unmarshal(packet, &m) != nil {
			return
		}
		if c.Send(ChannelConfirm{Theirs: m.ID, Ours: m.ID, Window: 1 << 20, MaxPacket: 1 << 15}) != nil {
			return
		}
	}
}

// AwaitOpen answers the client's next open, and returns the channel's number.
func (c *MaliceConn) AwaitOpen() (uint32, error) {
	packet, err := c.Next(msgChannelOpen)
	if err != nil {
		return 0, err
	}
	var m channelOpen
	if err := ssh.Unmarshal(packet, &m); err != nil {
		return 0, err
	}
	return m.ID, c.Send(ChannelConfirm{Theirs: m.ID, Ours: m.ID, Window: 1 << 20, MaxPacket: 1 << 15})
}

// Next returns the next packet of a kind, and passes over others. Keepalives are
// answered.
func (c *MaliceConn) Next(kind byte) ([]byte, error) {
	for {
		packet, err := c.ReadPacket()
		if err != nil || packet[0] == kind {
			return packet, err
		}
		if packet[0] == msgDisconnect {
			return nil, errors.New("the client has disconnected")
		}
		if packet[0] == msgGlobalRequest {
			if err := c.SendPacket([]byte{msgRequestFailure}); err != nil {
				return nil, err
			}
		}
	}
}
