package sshtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// bastion.go is the embedded SSH server: its options, its connections and
// what it counts.

// loginGrace is how long a client may take to authenticate, as sshd's
// LoginGraceTime.
const loginGrace = 2 * time.Minute

// maxRecords bounds Bastion.Opens and Bastion.Attempts.
const maxRecords = 4096

// BastionOptions say what a Bastion is and what it permits. The zero value is
// a bastion on a free loopback port that nobody can log in to.
type BastionOptions struct {
	// Listen is the address to listen on. Default: "127.0.0.1:0".
	Listen string

	// HostKeys are the bastion's keys, or signers of host certificates (see
	// CertSigner). Default: a new Ed25519 key.
	HostKeys []ssh.Signer

	// User is the only user who may log in. Default: anyone may.
	User string

	// AuthorizedKeys may log in.
	AuthorizedKeys []ssh.PublicKey

	// UserAuthorities are keys whose user certificates may log in. One without
	// permit-port-forwarding may not forward, as with sshd.
	UserAuthorities []ssh.PublicKey

	// Password, if not empty, lets those log in who know it.
	Password string

	// KeyboardInteractive carries on the dialogue of that method. Default: one
	// hidden prompt for Password, if the method is in AuthenticationMethods.
	KeyboardInteractive func(user string, ask ssh.KeyboardInteractiveChallenge) error

	// AuthenticationMethods are lists such as "publickey,password", one of
	// which must be completed in its order, as in sshd_config(5). Default: any
	// one method that has something configured above.
	AuthenticationMethods []string

	// AdmitNone lets everybody in with the method "none" (RFC 4252 section 5.2).
	AdmitNone bool

	// MaxAuthTries is how many attempts to authenticate a connection has; every
	// rejected key is one. Default: 6.
	MaxAuthTries int

	// Banner is sent before authentication. Default: none.
	Banner string

	// PermitOpen decides on the target of a channel: network is "tcp" or
	// "unix". An *ssh.OpenChannelError is passed on as it is; any other error
	// is "administratively prohibited" or, as with sshd, a plain "connect
	// failed" if network is "unix". Default: all are permitted.
	PermitOpen func(network, addr string) error

	// PermitListen decides on what clients ask the bastion to listen on: network
	// is "tcp" or "unix". Addresses are loopback ones whatever was asked for.
	// Default: all are permitted.
	PermitListen func(network, addr string) error

	// Dial connects to a permitted target, so it is where names get a meaning
	// that only the bastion knows. Connections with a CloseWrite method are
	// half-closed. Default: a net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// Config holds the algorithms, and RekeyThreshold: after that many bytes
	// (at least 256) the bastion starts a key exchange. Default: those of
	// x/crypto/ssh.
	Config ssh.Config

	// Logf gets logins, channels and their ends. Default: nobody does.
	Logf func(format string, args ...any)
}

// Stats is what a Bastion has counted.
type Stats struct {
	Connects int // accepted TCP connections
	Logins   int // completed authentications
	Opens    int // channels that clients asked for
	Pending  int // of those, the ones not yet answered
	Channels int // of those, the ones that are open now

	ForwardRequests int // requests to listen
	Forwards        int // addresses listened on now
	Forwarded       int // connections to those that a client has accepted
}

// Open is a channel that a client asked for.
type Open struct {
	User       string
	Network    string // "tcp" or "unix"
	Address    string // "host:port" or a path
	Originator string // "address:port" as the client gave it, or ""
}

// Bastion is an SSH server that does nothing but forward.
type Bastion struct {
	opts     BastionOptions
	listener net.Listener
	ctx      context.Context // done when the bastion closes
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	// mu guards what is below.
	mu       sync.Mutex
	hostKeys []ssh.Signer
	faults   Faults
	changed  chan struct{}                // closed when faults is replaced
	conns    map[net.Conn]*ssh.ServerConn // nil before authentication
	stats    Stats
	opens    []Open
	attempts []Attempt
}

// ListenBastion starts a bastion. It serves until Close.
func ListenBastion(opts BastionOptions) (*Bastion, error) {
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	if len(opts.HostKeys) == 0 {
		opts.HostKeys = []ssh.Signer{NewKey()}
	}
	if opts.PermitOpen == nil {
		opts.PermitOpen = func(string, string) error { return nil }
	}
	if opts.PermitListen == nil {
		opts.PermitListen = func(string, string) error { return nil }
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	if opts.Logf == nil {
		opts.Logf = func(string, ...any) {}
	}
	if _, err := opts.authLists(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("starting a bastion: %w", err)
	}
	b := &Bastion{
		opts:     opts,
		listener: listener,
		hostKeys: opts.HostKeys,
		changed:  make(chan struct{}),
		conns:    make(map[net.Conn]*ssh.ServerConn),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.wg.Go(b.acceptLoop)
	return b, nil
}

// Addr returns the "host:port" that the bastion listens on.
func (b *Bastion) Addr() string { return b.listener.Addr().String() }

// KnownHostsLine returns the line of a known_hosts file for the first host
// key. If that is a certificate, the line is for the key that it certifies.
func (b *Bastion) KnownHostsLine() string {
	return KnownHostsLine(b.Addr(), b.hostKey())
}

// HostKeyFingerprint returns the "SHA256:<fingerprint>" of the first host key.
func (b *Bastion) HostKeyFingerprint() string {
	return ssh.FingerprintSHA256(b.hostKey())
}

func (b *Bastion) hostKey() ssh.PublicKey {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := b.hostKeys[0].PublicKey()
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert.Key
	}
	return key
}

// KnownHostsLine returns the line of a known_hosts file that says that the
// server at the "host:port" addr has the key.
func KnownHostsLine(addr string, key ssh.PublicKey) string {
	return knownhosts.Line([]string{knownhosts.Normalize(addr)}, key)
}

// SetHostKeys gives the bastion other host keys from the next connection on.
func (b *Bastion) SetHostKeys(keys ...ssh.Signer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hostKeys = slices.Clone(keys)
}

// Stats returns what was counted so far.
func (b *Bastion) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Opens returns the channels that clients asked for, oldest first: the last
// 4096 of them.
func (b *Bastion) Opens() []Open {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.opens)
}

// Conns returns the authenticated connections, in no order; one is among them
// soon after its client knows that it has logged in. A test can send the client what it
// did not ask for on them, or close them.
func (b *Bastion) Conns() []*ssh.ServerConn {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Collect(maps.Values(b.conns)), func(c *ssh.ServerConn) bool { return c == nil })
}

// Kick closes all connections. The bastion accepts new ones.
func (b *Bastion) Kick() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.Close()
	}
}

// Close ends the bastion, its connections and channels, and returns once they
// have ended. It is idempotent.
func (b *Bastion) Close() error {
	b.cancel()
	err := b.listener.Close()
	b.Kick()
	b.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// acceptLoop takes connections. It returns when the listener is closed.
func (b *Bastion) acceptLoop() {
	for {
		c, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // as when out of file descriptors
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if b.track(c) {
			b.wg.Go(func() { b.serve(c) })
		}
	}
}

// track counts a connection among those that Close closes. It is false, and
// the connection closed, if Close was there first.
func (b *Bastion) track(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	b.conns[c] = nil
	b.stats.Connects++
	return true
}

// serve is one connection. It returns when the connection has ended.
func (b *Bastion) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.conns, c)
	}()
	if b.spoilHandshake(c) {
		return
	}
	_ = c.SetDeadline(time.Now().Add(loginGrace))
	conn, opens, requests, err := ssh.NewServerConn(c, b.serverConfig())
	if err != nil {
		b.opts.Logf("no login from %s: %v", c.RemoteAddr(), err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	b.mu.Lock()
	b.conns[c] = conn
	b.mu.Unlock()
	b.opts.Logf("login of %s from %s", conn.User(), c.RemoteAddr())

	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel() // ends the channels' targets
	b.wg.Go(func() { b.answerRequests(ctx, conn, requests) })
	for open := range opens {
		b.wg.Go(func() { b.serveOpen(ctx, conn, open) })
	}
	b.opts.Logf("connection of %s from %s ended", conn.User(), c.RemoteAddr())
}

// answerRequests answers global requests, in their order, once it may. It
// never stops taking them: that would freeze the connection. It returns when
// the connection has ended.
func (b *Bastion) answerRequests(ctx context.Context, conn *ssh.ServerConn, requests <-chan *ssh.Request) {
	f := &forwards{bastion: b, conn: conn, listeners: make(map[forwardAddress]net.Listener)}
	defer f.close()
	var held []*ssh.Request
	for {
		faults, changed := b.currentFaults()
		if !faults.HoldRequests {
			for _, request := range held {
				f.answer(ctx, request)
			}
			held = nil
		}
		select {
		case request, ok := <-requests:
			if !ok {
				return
			}
			held = append(held, request)
		case <-changed:
		case <-ctx.Done():
			// The connection is closing, which closes requests.
			for range requests {
			}
			return
		}
	}
}

// record appends to a list of at most maxRecords.
func record[T any](list []T, item T) []T {
	if len(list) >= maxRecords {
		list = slices.Delete(list, 0, len(list)-maxRecords+1)
	}
	return append(list, item)
}
