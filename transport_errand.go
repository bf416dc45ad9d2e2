package sshtunnel

// transport_errand.go contains what a dial has to know about the request that
// it is for.

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Variables of the request that Caddy's reverse proxy sets for its transport,
// which does not export their names.
const (
	proxyProtocolInfoVar = "reverse_proxy.proxy_protocol_info"
	tlsHTTP1OnlyVar      = "reverse_proxy.tls_h1_only"
)

// errand says on whose behalf to dial. It is made before the request reaches
// http.Transport, which dials in a goroutine of its own that may outlive the
// request: by then Caddy uses its variables for another one.
type errand struct {
	upstream   *reverseproxy.DialInfo // nil if the reverse proxy gave none
	client     netip.AddrPort         // for the PROXY protocol; not valid if there is no client
	serverName string                 // of tls_server_name
	http1Only  bool
	class      tunnel.Class // also chooses the http.Transport, whose dials thus are all of one class

	// proxied is set once it is known that the request goes through a
	// network_proxy. It is atomic because an earlier dial for the same request
	// may still be reading it.
	proxied atomic.Bool

	// answered is closed when the request has its response, or has failed.
	answered chan struct{}
}

type errandKey struct{}

// errandFrom returns the errand of a dial; an empty one if there is none.
func errandFrom(ctx context.Context) *errand {
	if e, ok := ctx.Value(errandKey{}).(*errand); ok {
		return e
	}
	return new(errand)
}

func (t *Transport) newErrand(req *http.Request) *errand {
	ctx := req.Context()
	e := &errand{class: classOf(req), answered: make(chan struct{})}
	if info, ok := reverseproxy.GetDialInfo(ctx); ok {
		e.upstream = &info
	}
	// Active health checks have no variables.
	if info, ok := caddyhttp.GetVar(ctx, proxyProtocolInfoVar).(reverseproxy.ProxyProtocolInfo); ok {
		e.client = info.AddrPort
	}
	e.http1Only = caddyhttp.GetVar(ctx, tlsHTTP1OnlyVar) == true
	if t.TLS != nil {
		e.serverName = t.TLS.ServerName
		if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok && strings.Contains(e.serverName, "{") {
			e.serverName = repl.ReplaceAll(e.serverName, "")
		}
	}
	return e
}

// target returns where a channel for the errand leads. network and address are
// those that http.Transport would dial: the upstream's, or its proxy's.
func (e *errand) target(network, address string) (tunnel.Target, error) {
	if e.upstream != nil && !e.isForProxy() {
		network, address = e.upstream.Network, e.upstream.Address
	}
	return e.targetAt(network, address)
}

// targetAt returns the target at an upstream's address, or a proxy's.
func (e *errand) targetAt(network, address string) (tunnel.Target, error) {
	kind, _, _ := strings.Cut(network, "+") // see ownNetwork
	switch kind {
	case "unix":
		return tunnel.Target{Network: "unix", Address: address, Class: e.class}, nil
	case "tcp", upstreamNetwork:
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return tunnel.Target{}, err
		}
		address = net.JoinHostPort(cmp.Or(host, "localhost"), port)
		return tunnel.Target{Network: "tcp", Address: address, Class: e.class}, nil
	}
	return tunnel.Target{}, fmt.Errorf("upstream %q: network %q does not go through a tunnel; use host:port or unix//path", address, network)
}

// checkUpstream refuses a request for an upstream that is not permitted.
func (e *errand) checkUpstream(req *http.Request, tun permitter) error {
	network, address := "tcp", req.URL.Host
	if e.upstream != nil {
		network, address = e.upstream.Network, e.upstream.Address
	}
	target, err := e.targetAt(network, address)
	if err != nil {
		return err
	}
	_, err = tun.permit(target)
	return err
}

// isForProxy tells a dial of the network_proxy from one of the upstream. As
// with the http transport, a unix upstream is never behind a proxy.
func (e *errand) isForProxy() bool {
	return e.proxied.Load() && (e.upstream == nil || !caddy.IsUnixNetwork(e.upstream.Network))
}

// tlsName returns the name that the certificate must have; it is empty for a
// unix upstream, whose name tls_server_name has to give. address is as in
// target.
func (e *errand) tlsName(address string) string {
	if !e.isForProxy() {
		switch {
		case e.serverName != "":
			return e.serverName
		case e.upstream != nil && caddy.IsUnixNetwork(e.upstream.Network):
			return ""
		case e.upstream != nil:
			return cmp.Or(e.upstream.Host, "localhost")
		}
	}
	host, _, _ := net.SplitHostPort(address) // http.Transport adds the port
	return host
}
