// Package clienthello reads the ClientHello of TLS clients, matches it and replays what
// was read. Its listener hands what matches to a function and accepts the rest, also
// while a reload replaces it. It forwards nothing itself. The root and package bind
// import it.
package clienthello

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
)

const (
	// helloTimeout bounds the wait for a ClientHello. Who waits for the server
	// to speak first is not kept waiting for longer.
	helloTimeout = 5 * time.Second

	// siteHandshakeTimeout bounds the TLS handshake with a client that may be a
	// site's. It is what Caddy gives these by default: the site's certificate
	// may have to be obtained first.
	siteHandshakeTimeout = time.Minute
)

// Matchers are what a ClientHello must match, all of them.
type Matchers []caddytls.ConnectionMatcher

// LoadMatchers loads the matchers in a field of a module.
func LoadMatchers(ctx caddy.Context, module any, field string, raw caddy.ModuleMap) (Matchers, error) {
	if raw == nil {
		return nil, nil
	}
	if len(raw) == 0 {
		return nil, errors.New("no matcher; leave match out to forward every connection")
	}
	loaded, err := ctx.LoadModule(module, field)
	if err != nil {
		return nil, err
	}
	var matchers Matchers
	for name, module := range loaded.(map[string]any) {
		m, ok := module.(caddytls.ConnectionMatcher)
		if !ok {
			return nil, fmt.Errorf("%s is no matcher of TLS handshakes", name)
		}
		matchers = append(matchers, m)
	}
	return matchers, nil
}

// match reports whether a connection matches. It reads the ClientHello or, after
// the tls wrapper, does the handshake. What is no TLS, or not within the time
// there is for it, does not match, and err tells why. Matched or not, whole is
// to be used instead of conn.
func (ms Matchers) match(ctx context.Context, conn net.Conn) (matched bool, whole net.Conn, err error) {
	var hello *tls.ClientHelloInfo
	if c, ok := forward.Layer[interface{ ConnectionState() tls.ConnectionState }](conn); ok {
		ctx, cancel := context.WithTimeout(ctx, siteHandshakeTimeout)
		defer cancel()
		if err := handshake(ctx, conn); err != nil {
			return false, conn, err
		}
		hello, whole = helloOf(c.ConnectionState(), conn), conn
	} else {
		ctx, cancel := context.WithTimeout(ctx, helloTimeout)
		defer cancel()
		if hello, whole, err = peekHello(ctx, conn); err != nil {
			return false, whole, err
		}
	}
	mismatch := func(m caddytls.ConnectionMatcher) bool { return !m.Match(hello) }
	return !slices.ContainsFunc(ms, mismatch), whole, nil
}

// handshake does the TLS handshake that the tls wrapper leaves to be done,
// until ctx is done. It is not the handshake's own context: obtaining a
// certificate goes on though its client is gone.
func handshake(ctx context.Context, conn net.Conn) error {
	h, ok := forward.Layer[interface{ HandshakeContext(context.Context) error }](conn)
	if !ok {
		return nil // another wrapper must have done it
	}
	return interruptible(ctx, conn, func() error { return h.HandshakeContext(context.Background()) })
}

// helloOf returns what a connection knows of its ClientHello once the
// handshake is over: of the versions, ciphers and protocols, those chosen.
func helloOf(state tls.ConnectionState, conn net.Conn) *tls.ClientHelloInfo {
	hello := &tls.ClientHelloInfo{
		ServerName:        state.ServerName,
		SupportedVersions: []uint16{state.Version},
		CipherSuites:      []uint16{state.CipherSuite},
		Conn:              conn,
	}
	if state.NegotiatedProtocol != "" {
		hello.SupportedProtos = []string{state.NegotiatedProtocol}
	}
	return hello
}
