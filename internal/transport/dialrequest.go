package transport

// dialrequest.go contains what a dial has to know about the request that
// it is for, and where that request may go.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// dialRequest says on whose behalf to dial. It is complete before the request reaches
// http.Transport, which dials in a goroutine of its own that may outlive the
// request: by then Caddy uses its variables for another one.
type dialRequest struct {
	upstream   *reverseproxy.DialInfo // nil if the reverse proxy gave none
	proxy      *url.URL               // the network_proxy; nil if the request goes through none
	target     tunnel.Target          // what to dial: the proxy, or else the upstream
	client     netip.AddrPort         // for the PROXY protocol; not valid if there is no client
	serverName string                 // of tls_server_name
	http1Only  bool
	class      tunnel.Class // also chooses the http.Transport, whose dials thus are all of one class
	byClient   bool         // requests choose dynamic upstreams
	// answered is closed when the request has its response, or has failed.
	answered chan struct{}
}

type dialRequestKey struct{}

// dialRequestFrom returns the request of a dial; an empty one if there is none.
func dialRequestFrom(ctx context.Context) *dialRequest {
	if e, ok := ctx.Value(dialRequestKey{}).(*dialRequest); ok {
		return e
	}
	return new(dialRequest)
}

// prepare completes the dial request of a request, and directs the request to what the
// tunnel permits: both what is dialed and what a proxy is asked for are spelled
// as they were compared. It returns an error for a request that may not be sent.
func (t *Transport) prepare(e *dialRequest, req *http.Request) error {
	ctx := req.Context()
	e.class, e.byClient = classOf(req), t.byClient
	if info, ok := reverseproxy.GetDialInfo(ctx); ok {
		e.upstream = &info
	}
	e.client, e.http1Only = contract.ProxyProtocolClient(ctx), contract.WantsHTTP1(ctx)
	if t.TLS != nil {
		e.serverName = t.TLS.ServerName
		if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok && strings.Contains(e.serverName, "{") {
			e.serverName = repl.ReplaceAll(e.serverName, "")
		}
	}

	upstream, err := e.upstreamTarget(req, t.tunnel)
	if err != nil {
		return err
	}
	e.target = upstream
	// As with the http transport, a unix upstream is never behind a proxy.
	if t.proxy == nil || upstream.Network == "unix" {
		return nil
	}
	if e.proxy, err = t.proxy(req); err != nil {
		return fmt.Errorf("network_proxy: %w", err)
	}
	if e.proxy == nil {
		return nil
	}
	target, err := ProxyTarget(e.proxy)
	if err != nil {
		return fmt.Errorf("network_proxy: %w", err)
	}
	target.Class = e.class
	if e.target, err = t.tunnel.Permit(target); err != nil {
		return err
	}
	return askProxyFor(req, e.proxy, upstream.Address)
}

// UpstreamTarget returns the upstream as the tunnel permits it.
func (e *dialRequest) upstreamTarget(req *http.Request, tun dialer.Permitter) (tunnel.Target, error) {
	var network, address string
	if e.upstream == nil {
		network, address = "tcp", hostPort(req.URL)
	} else {
		network, address = e.upstream.Network, e.upstream.Address
		// Provision refuses this; but a module may add upstreams later.
		if u := e.upstream.Upstream; u != nil && !tun.Restricts() && strings.Contains(u.Dial, "{") {
			return tunnel.Target{}, fmt.Errorf("upstream %q: %w", u.Dial, errPlaceholder)
		}
	}
	target, err := targetAt(network, address)
	if err != nil {
		return tunnel.Target{}, err
	}
	target.Class = e.class
	target.ByClient = e.byClient || e.upstream != nil && e.upstream.Upstream != nil && strings.Contains(e.upstream.Upstream.Dial, "{")
	return tun.Permit(target)
}

// targetAt returns the target at an upstream's address.
func targetAt(network, address string) (tunnel.Target, error) {
	kind, _, _ := strings.Cut(network, "+") // see contract.NameUpstream
	switch kind {
	case "unix":
		return tunnel.Target{Network: "unix", Address: address}, nil
	case "tcp", contract.UpstreamNetwork:
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return tunnel.Target{}, err
		}
		address = net.JoinHostPort(cmp.Or(host, "localhost"), port)
		return tunnel.Target{Network: "tcp", Address: address}, nil
	}
	return tunnel.Target{}, fmt.Errorf("upstream %s: network %s does not go through a tunnel; use host:port or unix//path", redact.Quote(address), redact.Quote(network))
}

// defaultPorts are those that a URL need not have, by its scheme.
var defaultPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// hostPort returns where a URL leads.
func hostPort(u *url.URL) string {
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), defaultPorts[u.Scheme]))
}

// ProxyTarget returns the target at a network_proxy's URL.
func ProxyTarget(u *url.URL) (tunnel.Target, error) {
	if defaultPorts[u.Scheme] == "" {
		return tunnel.Target{}, fmt.Errorf("unknown scheme %q; use http, https, socks5 or socks5h", u.Scheme)
	}
	return tunnel.Target{Network: "tcp", Address: hostPort(u)}, nil
}

// askProxyFor makes a proxy connect to the upstream's address, whatever the
// client has sent.
//
// http.Transport asks an HTTP proxy for http://<Host>/<path> if there is no TLS
// to the upstream, and Host is the client's. The proxy may go by this URI or by
// the Host header, which are to be the same (RFC 9112 section 3.2); hence the
// upstream gets its own address as Host. All other proxies are asked for URL.Host.
func askProxyFor(req *http.Request, proxy *url.URL, address string) error {
	if strings.Contains(address, "%") {
		return fmt.Errorf("upstream %q: a proxy cannot be asked for an address with a zone", address)
	}
	req.Host = cmp.Or(req.Host, req.URL.Host)
	req.URL.Host = address
	if req.URL.Scheme != "http" || strings.HasPrefix(proxy.Scheme, "socks5") {
		return nil
	}
	if req.Method == http.MethodConnect {
		return errors.New("a CONNECT request cannot be sent through an HTTP proxy, which would take it for itself")
	}
	req.Host = address
	// What follows the address in the URI must not be taken for a part of it,
	// nor take its place.
	req.URL.Opaque = ""
	if path := req.URL.EscapedPath(); !strings.HasPrefix(path, "/") {
		req.URL.Path, req.URL.RawPath = "/"+req.URL.Path, "/"+path
	}
	return nil
}

// tlsName returns the name that the certificate must have; it is empty for a
// unix upstream, whose name tls_server_name has to give. address is what
// http.Transport would dial.
func (e *dialRequest) tlsName(address string) string {
	if e.proxy == nil {
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
