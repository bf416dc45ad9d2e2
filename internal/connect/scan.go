// scan.go asks a server for its host keys, and logs in nowhere.

package connect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// Scanned is what a server has shown.
type Scanned struct {
	// Server is its version, as in "SSH-2.0-OpenSSH_9.2".
	Server string
	// Keys are its host keys, one of each type; of certificates, the plain key
	// within. Nobody has verified them.
	Keys []ssh.PublicKey
	// Unread are host key algorithms of the server's that are not supported, or for
	// which it shows no key.
	Unread []string
}

// Scan asks the server at cfg.Address, which via connects to unless it is nil, for a host
// key of each type that it has. Each type takes a connection,
// which may take as long as timeout, and ends once the server has proved that
// the key is its own: nothing is sent to it that is secret, and nobody logs in.
// If ctx ends, so does Scan.
func Scan(ctx context.Context, cfg Config, via Dial, timeout time.Duration) (*Scanned, error) {
	s := &scan{cfg: &cfg, via: via, timeout: timeout}
	crypto := cfg.CryptoConfig()
	// Nothing depends on how well this connection is protected.
	crypto.KeyExchanges = withMore(crypto.KeyExchanges, ssh.SupportedAlgorithms().KeyExchanges, ssh.InsecureAlgorithms().KeyExchanges)
	crypto.Ciphers = withMore(crypto.Ciphers, ssh.SupportedAlgorithms().Ciphers, ssh.InsecureAlgorithms().Ciphers)
	crypto.MACs = withMore(crypto.MACs, ssh.SupportedAlgorithms().MACs, ssh.InsecureAlgorithms().MACs)
	s.crypto = crypto

	// Any key at first: with it comes the list of all.
	init, err := s.take(ctx, scannable)
	if err != nil {
		return nil, err
	}
	for _, algos := range s.left(init) {
		// A Dropbear without an RSA key announces one all the same, and closes the connection.
		_, err := s.take(ctx, algos)
		switch {
		case errors.Is(err, io.EOF):
			s.found.Unread = append(s.found.Unread, algos...)
		case err != nil:
			return nil, err
		}
	}
	return &s.found, nil
}

// scan is a Scan that goes on.
type scan struct {
	cfg     *Config
	via     Dial
	timeout time.Duration
	crypto  ssh.Config
	found   Scanned
}

// scannable are the host key algorithms that can be asked for: plain keys first,
// Ed25519 before the others, and what is broken last.
var scannable = func() []string {
	algos := withMore(nil, ssh.SupportedAlgorithms().HostKeys, ssh.InsecureAlgorithms().HostKeys)
	slices.SortStableFunc(algos, func(a, b string) int { return cmp.Compare(scanRank(a), scanRank(b)) })
	return algos
}()

func scanRank(algo string) int {
	switch {
	case algo == ssh.KeyAlgoED25519:
		return -1
	case algorithms.IsCertificate(algo):
		return 2
	case slices.Contains(ssh.InsecureAlgorithms().HostKeys, algo):
		return 1
	default:
		return 0
	}
}

// withMore returns a list with what others have besides.
func withMore(list []string, others ...[]string) []string {
	list = slices.Clone(list)
	for _, other := range others {
		for _, name := range other {
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

// left returns the algorithms to ask for next, by type of key: those of the
// server's types that no key was found of.
func (s *scan) left(init *wire.KexInit) (left [][]string) {
	byType := map[string]int{}
	for _, k := range s.found.Keys {
		byType[k.Type()] = -1
	}
	for _, algo := range scannable {
		if !slices.Contains(init.HostKeyAlgorithms, algo) {
			continue
		}
		keyType := algorithms.PlainKeyType(algo)
		switch i, ok := byType[keyType]; {
		case !ok:
			byType[keyType] = len(left)
			left = append(left, []string{algo})
		case i >= 0:
			left[i] = append(left[i], algo)
		}
	}
	for _, algo := range init.HostKeyAlgorithms {
		if _, ok := byType[algorithms.PlainKeyType(algo)]; !ok {
			s.found.Unread = append(s.found.Unread, printable.Text(algo))
		}
	}
	return left
}

// take connects, and takes the key that the server shows for one of the
// algorithms. It returns what the server has said of itself.
func (s *scan) take(ctx context.Context, algos []string) (*wire.KexInit, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, failure.ErrConnectTimeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err != nil {
		cause := failure.CauseJump
		if s.via == nil {
			cause = s.cfg.dialer().CauseOf(err)
		}
		return nil, s.fail(ctx, cause, "", err)
	}
	r := wire.New(conn, sshconn.StallAfter)
	defer func() { _ = r.Close() }()
	// The watchdog: neither a server that says nothing keeps us, nor one that
	// says one byte a second.
	defer context.AfterFunc(ctx, func() { _ = r.Close() })()

	shown := make(chan ssh.PublicKey, 1) // x/crypto's goroutines may outlive the handshake
	sc, _, _, err := ssh.NewClientConn(r, s.cfg.Address, &ssh.ClientConfig{
		Config: s.crypto, ClientVersion: clientVersion, HostKeyAlgorithms: algos, User: s.cfg.User,
		HostKeyCallback: func(_ string, _ net.Addr, k ssh.PublicKey) error {
			select {
			case shown <- algorithms.PlainKey(k):
			default:
			}
			return errScanned
		},
	})
	if err == nil { // not without a key
		_ = sc.Close()
	}
	record := r.Preamble()
	var key ssh.PublicKey
	select {
	case key = <-shown:
	default:
		_, isSSH := dial.FirstWords(record)
		switch {
		case len(record) == 0:
			return nil, s.fail(ctx, failure.CauseNoBanner, s.cfg.dialer().NoBanner(), err)
		case !isSSH:
			other := s.cfg.dialer().NotSSH(record)
			return nil, s.fail(ctx, other.Cause, other.Message, err)
		}
		return nil, s.fail(ctx, failure.CauseKeyExchange, "in the key exchange", err)
	}
	version, init, err := wire.ParseGreeting(record)
	if err != nil {
		return nil, s.fail(ctx, failure.CauseKeyExchange, "in the key exchange", err)
	}
	s.found.Server = printable.Text(version)
	if !slices.ContainsFunc(s.found.Keys, func(k ssh.PublicKey) bool { return algorithms.SameKey(k, key) }) {
		s.found.Keys = append(s.found.Keys, key)
	}
	return init, nil
}

// errScanned ends a handshake that has shown its key.
var errScanned = errors.New("scanned")

func (s *scan) dial(ctx context.Context) (net.Conn, error) {
	if s.via == nil {
		return s.cfg.dialer().Dial(ctx, zap.NewNop())
	}
	return s.via(ctx, s.cfg.Address)
}

// fail is the error of a connection, in the words of one that is to last.
func (s *scan) fail(ctx context.Context, cause failure.Cause, stage string, err error) error {
	if errors.Is(context.Cause(ctx), failure.ErrConnectTimeout) {
		what := "no progress"
		if _, ok := errors.AsType[*dial.ProxyError](err); ok {
			what = dial.NoAnswer(err)
		}
		err = fmt.Errorf("%s within connect_timeout (%s)", what, s.timeout)
	} else if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if stage != "" {
		err = fmt.Errorf("%s: %w", stage, err)
	}
	return failure.New(failure.ClassOf(err), cause, fmt.Errorf("connecting to %q: %w", s.cfg.Address, err))
}
