// Package remote makes a bastion listen for us: remote forwards, as of ssh -R. It asks
// for each address on one of a tunnel's SSH connections, again on the next when that
// one goes, and hands out the channels that come in as a net.Listener. It makes no SSH
// connection: which there are, its Tunnel says. Package pool imports it, and those
// above for the type Listener.
package remote

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// Tunnel is the tunnel that forwards belong to. Its methods are called with no lock
// held.
type Tunnel interface {
	// ConnectionFor returns the connection that a forward belongs on: the one where it
	// is, unless that is nil or takes no more channels, or else another. It returns nil
	// if there is none.
	ConnectionFor(now Connection) Connection
	// Replace asks for a new connection in the place of one on which the bastion does
	// not cancel a forward.
	Replace(Connection)
	// ReconnectMax is the longest delay before a refused forward is asked for again.
	ReconnectMax() time.Duration
	// Log returns the logger in force.
	Log() *zap.Logger
}

// Connection is one of a tunnel's SSH connections. It is comparable. Its methods, but
// for Client, are called with no lock held.
type Connection interface {
	Client() *sshconn.Client
	// Hold counts a forward, or a connection to one, as a channel of the connection,
	// until Release: one that drains stays for them.
	Hold()
	Release()
	// Draining returns a channel that is closed once the connection takes no more
	// channels.
	Draining() <-chan struct{}
	// LogLevel returns the level for a line about what comes of the connection.
	LogLevel(own zapcore.Level) zapcore.Level
}

// Forwards are the addresses that a bastion is to listen on for a tunnel.
type Forwards struct {
	// ctx ends with the tunnel, whose name it is.
	ctx    context.Context
	name   string
	tunnel Tunnel
	// accepted counts the connections that were accepted.
	accepted *atomic.Int64

	// mu guards the rest, and what forwards and listeners say that it does. It may be
	// taken while the tunnel's lock is held, and is held across no call.
	mu sync.Mutex
	// owners are whose listeners may accept.
	owners map[any]bool
	// forwards are those that somebody listens to, or that the bastion has yet to
	// cancel.
	forwards map[address]*forward
	// inbound counts, by SSH connection, the connections to forwards on it, those that
	// wait included.
	inbound map[Connection]int
}

// New returns the forwards of a tunnel, of which there are none yet. It calls the
// Tunnel until ctx ends, and counts in accepted the connections that are accepted.
func New(ctx context.Context, name string, tunnel Tunnel, accepted *atomic.Int64) *Forwards {
	return &Forwards{
		ctx: ctx, name: name, tunnel: tunnel, accepted: accepted,
		owners: map[any]bool{}, forwards: map[address]*forward{}, inbound: map[Connection]int{},
	}
}

// Listen returns a listener of an owner's for an address. Tunnel's Handle.Listen says
// which addresses there are, and what becomes of the listener.
func (s *Forwards) Listen(owner any, network, listen string) (*Listener, error) {
	a, err := parseAddress(network, listen)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.forwards[a]
	if f == nil {
		f = &forward{all: s, address: a, woken: make(chan struct{}, 1), turn: sync.NewCond(&s.mu)}
		s.forwards[a] = f
		go f.keep()
	}
	l := &Listener{forward: f, owner: owner}
	f.listeners = append(f.listeners, l)
	f.wake()
	return l, nil
}

// Start lets an owner's listeners accept. Stop takes them out of service, and does not
// close them.
func (s *Forwards) Start(owner any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owners[owner] = true
	s.wake()
}

// Stop ends what Start has begun.
func (s *Forwards) Stop(owner any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.owners, owner)
	s.wake()
}

// Changed says that the connections have changed that there are, or whether they take
// channels.
func (s *Forwards) Changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wake()
}

// wake wakes all forwards. The caller holds mu.
func (s *Forwards) wake() {
	for _, f := range s.forwards {
		f.wake()
	}
}

// Wanted reports whether any forward wants a connection.
func (s *Forwards) Wanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.forwards {
		if f.newest() != nil {
			return true
		}
	}
	return false
}

// Listening returns whether the bastion listens, as far as we know, by address.
func (s *Forwards) Listening() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	listening := map[string]bool{}
	for _, f := range s.forwards {
		listening[f.address.String()] = f.isListening()
	}
	return listening
}

// newest returns the listener that gets the connections: the newest whose owner is
// started, or nil. The caller holds mu.
func (f *forward) newest() *Listener {
	for _, l := range slices.Backward(f.listeners) {
		if f.all.owners[l.owner] {
			return l
		}
	}
	return nil
}
