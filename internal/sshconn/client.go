// Package sshconn is one SSH connection, from the end of its handshake to its own,
// with its channels as net.Conns. It probes the server, finds out when it stalls, and
// closes the connection when it is dead. It knows nothing of other connections: what
// happens to it, its Owner learns. Packages connect, pool and remote import it, and those
// above for addresses and the type Conn.
package sshconn

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// Client is one SSH connection.
type Client struct {
	about     About
	transport *wire.Conn
	conn      ssh.Conn
	owner     Owner

	lookups lookups
	prober  prober
	waiting waiting
	stall   stall
	// unanswered counts the opens that the server has not answered.
	unanswered atomic.Int32
	traffic    traffic
}

// About says what a Client is for, in errors, and counts its bytes.
type About struct {
	// Tunnel is the name of the tunnel, Address the server's "host:port".
	Tunnel, Address string
	// Received and Sent count the bytes of all of the tunnel's channels. Default: of
	// this connection's only.
	Received, Sent *atomic.Int64
}

// Owner learns what happens to a Client. Its methods are called with no lock held, by
// goroutines that serve the connection: they must not block.
type Owner interface {
	// KeepAlive returns the settings in force.
	KeepAlive() KeepAlive
	// Tick is called once a second, or four times in an interval of KeepAlive if that is more often.
	Tick()
	// Probing says that a probe is sent, since the server has been silent for so long.
	Probing(silent time.Duration)
	// Probed says how long the server took to answer a probe.
	Probed(took time.Duration)
	// Stalled says that the server does not respond, and over the lookup of which
	// name, or "". Responds says that it does again.
	Stalled(name string)
	Responds()
	// Incoming takes a channel that the server opens. It returns false if nobody asked
	// for the channel.
	Incoming(ssh.NewChannel) bool

	// Answered says that an open to an address counts no longer as unanswered, since
	// the server has answered it, or never will. AnsweredLate says that it has
	// answered one that was given up, which counts until its channel is closed.
	Answered(address string)
	AnsweredLate(address string)
	// LookedUp says that the server has looked a name up without delay.
	LookedUp(name string)
	// Opened says that a channel is open, Closed that it has ended.
	Opened(*Conn)
	Closed(*Conn)
}

// New returns the Client of a connection whose handshake is over. Start begins it.
func New(transport *wire.Conn, conn ssh.Conn, about About) *Client {
	if about.Received == nil {
		about.Received, about.Sent = new(atomic.Int64), new(atomic.Int64)
	}
	c := &Client{about: about, transport: transport, conn: conn, stall: stall{begun: make(chan struct{})}}
	context.AfterFunc(transport.Context(), c.traffic.lose)
	return c
}

// Start serves the connection, and what comes in on it. Its goroutines return when
// the transport has ended.
func (c *Client) Start(owner Owner, opens <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.owner = owner
	go answerRequests(requests)
	go c.answerOpens(opens)
	go c.keepAlive()
}

// answerOpens passes on the channels that the server opens, and refuses those that
// nobody asked for, each at once: one that waits would hold up every channel. It
// returns when the transport has ended, which it makes sure of.
func (c *Client) answerOpens(opens <-chan ssh.NewChannel) {
	defer TakeLeftover(c.conn) // x/crypto has given up
	for open := range opens {
		if !c.owner.Incoming(open) {
			_ = open.Reject(ssh.Prohibited, "not asked for") // fails only if the connection is dead
		}
	}
}

// Close ends the connection. The first cause is what Err returns.
func (c *Client) Close(cause error) { c.transport.Die(cause) }

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.transport.Dead() }

// Context returns a context that ends with the connection.
func (c *Client) Context() context.Context { return c.transport.Context() }

// IsDone reports whether the connection has ended.
func (c *Client) IsDone() bool { return c.transport.IsDead() }

// Err returns why the connection has ended, or nil.
func (c *Client) Err() error { return c.transport.Err() }

// Wait waits until the connection has ended, and returns why.
func (c *Client) Wait() error {
	<-c.transport.Dead()
	if !errors.Is(c.Err(), net.ErrClosed) {
		_ = c.conn.Close()
	}
	return c.Cause()
}

// Cause returns why the connection has ended, as x/crypto knows it where that has
// ended it.
func (c *Client) Cause() error {
	cause := c.Err()
	if errors.Is(cause, net.ErrClosed) {
		// x/crypto has closed the transport, and knows why. Do not depend on it: its
		// Wait can outlast the transport.
		why := make(chan error, 1)
		go func() { why <- c.conn.Wait() }()
		select {
		case err := <-why:
			cause = err
		case <-time.After(time.Second):
		}
	}
	return cause
}

// Address returns the server's "host:port".
func (c *Client) Address() string { return c.about.Address }

// RemoteAddr returns the address that the connection is to: the server's, or its
// proxy's.
func (c *Client) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// Started returns when the connection was made.
func (c *Client) Started() time.Time { return c.transport.Since }

// Age returns how old the connection is.
func (c *Client) Age() time.Duration { return c.transport.Now() }

// Silent returns for how long nothing has come in.
func (c *Client) Silent() time.Duration { return c.transport.Now() - c.transport.LastHeard() }

// HeardSince returns for how long the server was heard after a time: up to the last
// byte, from the end of the last silence on.
func (c *Client) HeardSince(t time.Time) time.Duration { return c.transport.HeardSince(t) }

// Bytes returns how many bytes have gone through the transport, both ways.
func (c *Client) Bytes() int64 { return c.transport.Bytes() }

// Via returns the channel that the connection goes through, or nil.
func (c *Client) Via() *Conn {
	via, _ := c.transport.Conn.(*Conn)
	return via
}

// waiting counts what the server is expected to answer.
type waiting struct {
	// busy is how many opens and writes are under way.
	busy atomic.Int32
	// since is when, on the transport's clock, the first thing was sent that nothing
	// had come in after, when it was last looked at; 0 if nothing was sent.
	since atomic.Int64
}

// beginWrite and endWrite stand around everything that waits for the server.
func (c *Client) beginWrite() {
	c.waiting.busy.Add(1)
	if since := c.waiting.since.Load(); since <= int64(c.transport.LastHeard()) {
		c.waiting.since.CompareAndSwap(since, int64(c.transport.Now()))
	}
}

func (c *Client) endWrite() { c.waiting.busy.Add(-1) }

// WaitingFor returns how long something has waited with no byte from the server.
func (c *Client) WaitingFor() time.Duration {
	heard, since := c.transport.LastHeard(), time.Duration(c.waiting.since.Load())
	switch {
	case since > heard:
		return c.transport.Now() - since
	case c.waiting.busy.Load() > 0 || c.transport.Unsent():
		return c.transport.Now() - heard
	default:
		return 0
	}
}

// Request makes a global request and waits for its answer. It gives up, with ErrLost,
// when the connection ends or stop is closed: on a dying connection the answer may
// never come, nor x/crypto say so.
func (c *Client) Request(stop <-chan struct{}, name string, payload []byte) (ok bool, err error) {
	if c.IsDone() {
		return false, ErrLost
	}
	c.beginWrite()
	answered := c.sendRequest(name, payload, c.endWrite)
	select {
	case a := <-answered:
		return a.ok, a.err
	case <-c.Done():
	case <-stop:
	}
	return false, ErrLost
}

// Ask makes a global request and returns the payload of its answer. Nothing waits for
// that: a server that does not answer does not count as stalled. It gives up when ctx
// or the connection ends, which is a context.Canceled.
func (c *Client) Ask(ctx context.Context, name string, payload []byte) ([]byte, error) {
	select {
	case a := <-c.sendRequest(name, payload, func() {}):
		switch {
		case a.err != nil: // the connection's end
			return nil, context.Canceled
		case !a.ok:
			return nil, errors.New("refused")
		}
		return a.payload, nil
	case <-c.Done():
		return nil, context.Canceled
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answer is what the server says to a global request.
type answer struct {
	ok      bool
	payload []byte
	err     error
}

// sendRequest makes a global request. ended is called when it is over, whether anybody
// still waits for the answer or not.
func (c *Client) sendRequest(name string, payload []byte, ended func()) <-chan answer {
	answered := make(chan answer, 1)
	// It returns when the server has answered or the transport has ended.
	go func() {
		defer ended()
		ok, payload, err := c.conn.SendRequest(name, true, payload)
		answered <- answer{ok, payload, err}
	}()
	return answered
}

// answerRequests answers what the server asks on a connection or a channel, such as
// sshd's keepalives, at once: an unanswered one would hold up every channel. It
// returns when that has ended, or the transport has.
func answerRequests(requests <-chan *ssh.Request) {
	for req := range requests {
		answerRequest(req)
	}
}

// answerRequest refuses what the server asks.
func answerRequest(req *ssh.Request) {
	if req.WantReply {
		_ = req.Reply(false, nil) // fails only if the connection is dead
	}
}
