// Package contract contains what the plugin relies on and Caddy does not promise. Each
// part names the version of Caddy that it was read in, and has a test that fails when it
// changes. The packages that import Caddy import it.
package contract

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// ParentHandler returns the reverse proxy that loads a transport, or nil if
// another module does: one further up has other upstreams.
//
// Caddy v2.11.9: Context.Modules ends with the module that is provisioned, and
// before it stands the one that loads it. reverseproxy.Handler loads its transport
// before it provisions its upstreams and its response handlers.
func ParentHandler(ctx caddy.Context) *reverseproxy.Handler {
	modules := ctx.Modules() // the last is the transport
	if len(modules) < 2 {
		return nil
	}
	h, _ := modules[len(modules)-2].(*reverseproxy.Handler)
	return h
}

// SourceHandler returns the reverse proxy that loads a source of dynamic upstreams, by
// itself or by the source multi, or nil if another module does. Its transport is
// provisioned.
//
// Caddy v2.11.9: as for ParentHandler, and reverseproxy.Handler loads its transport before
// its dynamic upstreams. The transport is nil by then if none is configured.
func SourceHandler(ctx caddy.Context) *reverseproxy.Handler {
	modules := ctx.Modules() // the last is the source
	for i := len(modules) - 2; i >= 0; i-- {
		switch m := modules[i].(type) {
		case *reverseproxy.MultiUpstreams:
		case *reverseproxy.Handler:
			return m
		default:
			return nil
		}
	}
	return nil
}

// Variables of a request that reverseproxy.Handler sets for its transport, whose
// names it does not export.
//
// Caddy v2.11.9: modules/caddyhttp/reverseproxy/hosts.go.
const (
	ProxyProtocolInfoVar = "reverse_proxy.proxy_protocol_info"
	TLSHTTP1OnlyVar      = "reverse_proxy.tls_h1_only"
)

// ProxyProtocolClient returns the client of a request, for a PROXY protocol header.
// It is not valid if there is none, as for active health checks.
func ProxyProtocolClient(ctx context.Context) netip.AddrPort {
	info, _ := caddyhttp.GetVar(ctx, ProxyProtocolInfoVar).(reverseproxy.ProxyProtocolInfo)
	return info.AddrPort
}

// WantsHTTP1 reports whether a request has to be sent with HTTP/1.
func WantsHTTP1(ctx context.Context) bool {
	return caddyhttp.GetVar(ctx, TLSHTTP1OnlyVar) == true
}

// UpstreamNetwork begins the network of a tcp upstream behind a tunnel.
const UpstreamNetwork = "ssh_tunnel"

// NameUpstream returns an upstream's address with a network of the tunnel's own.
//
// Caddy v2.11.9: reverseproxy keeps the passive health of all static upstreams of the
// process by Upstream.Dial, and shows them by it in metrics and in the admin API. It
// reads Dial with caddy.ParseNetworkAddress, to which a network that begins with
// "unix" has no port.
func NameUpstream(network, rest, tunnelName string) string {
	own := UpstreamNetwork + "+" + tunnelName
	if caddy.IsUnixNetwork(network) {
		own = "unix+" + own
	}
	return own + "/" + rest
}

// ListeningModule returns the context of the module that listens. It is false for
// the admin endpoint, which has none, and for the remote one, which is no module.
//
// Caddy v2.11.9: caddy.NetworkAddress.Listen passes the context on to the function
// of a registered network, and apps pass their own.
func ListeningModule(ctx context.Context) (caddy.Context, bool) {
	module, ok := ctx.(caddy.Context)
	return module, ok && module.Module() != nil
}

// RegisterNetwork registers a network, and one that stands for its UDP.
//
// Caddy v2.11.9: modules/caddyhttp asks for HTTP/3 wherever there is TLS, and refuses a
// configuration for a network that has no other network for that. The other one's
// listener is a net.PacketConn, which QUIC reads until it is closed.
func RegisterNetwork(name string, listen caddy.ListenerFunc) {
	without := name + "_no_http3"
	caddy.RegisterNetwork(name, listen)
	caddy.RegisterNetwork(without, listenNoPackets)
	caddyhttp.RegisterNetworkHTTP3(name, without)
}

// listenNoPackets is the listener function of the network.
func listenNoPackets(context.Context, string, string, string, uint, net.ListenConfig) (any, error) {
	blocked, _ := net.Pipe()
	return noPackets{blocked}, nil
}

// noPackets is a packet connection on which nothing ever comes. Reads wait
// until it is closed or their deadline, as those of a pipe do whose other end
// is never written to.
type noPackets struct{ net.Conn }

// ReadFrom implements net.PacketConn.
func (c noPackets) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.LocalAddr(), err
}

// WriteTo implements net.PacketConn. What is written is lost.
func (c noPackets) WriteTo(p []byte, _ net.Addr) (int, error) { return len(p), nil }

// LocalAddr implements net.PacketConn. With port 0 no Alt-Svc header offers it.
func (c noPackets) LocalAddr() net.Addr { return &net.UDPAddr{} }

// SetReadBuffer is there because QUIC warns of a connection without.
func (c noPackets) SetReadBuffer(int) error { return nil }

// SetWriteBuffer is there because QUIC warns of a connection without.
func (c noPackets) SetWriteBuffer(int) error { return nil }

// redirectServer is what Caddy calls the server that it adds for automatic
// HTTPS's redirects, if no other has the address.
//
// Caddy v2.11.9: modules/caddyhttp/autohttps.go.
const redirectServer = "remaining_auto_https_redirects"

// ListensForRedirects reports whether it is that server that listens on an address.
func ListensForRedirects(ctx caddy.Context, address caddy.NetworkAddress) bool {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return false
	}
	http, ok := app.(*caddyhttp.App)
	if !ok {
		return false
	}
	server, ok := http.Servers[redirectServer]
	return ok && slices.Contains(server.Listen, address.String())
}

// SiteAddress is an address of one port that a server of the http app listens on.
type SiteAddress struct {
	Server  string
	Address caddy.NetworkAddress
}

// SiteAddresses returns the addresses of a network that the configuration's HTTP servers
// listen on, in the order of the servers' names, without those of the server for
// redirects. An app may call it while it is provisioned or validated. What is wrong with
// the http app is left to Caddy, which reports it.
//
// Caddy v2.11.9: Context.AppIfConfigured provisions an app that has not been yet, and
// returns one in the middle of its Provision with the configuration as it is written.
// There, http replaces the placeholders of a server's addresses when that server's turn
// comes.
func SiteAddresses(ctx caddy.Context, network string) []SiteAddress {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	http, ok := app.(*caddyhttp.App)
	if !ok {
		return nil
	}
	var sites []SiteAddress
	for _, name := range slices.Sorted(maps.Keys(http.Servers)) {
		if name == redirectServer {
			continue
		}
		for _, text := range http.Servers[name].Listen {
			if text, err = caddy.NewReplacer().ReplaceOrErr(text, true, true); err != nil {
				continue
			}
			address, err := caddy.ParseNetworkAddress(text)
			if err != nil || address.Network != network {
				continue
			}
			for _, one := range address.Expand() {
				sites = append(sites, SiteAddress{name, one})
			}
		}
	}
	return sites
}

// Where a challenge is listened for instead, without need: the authority comes
// to the bastion, and there the site answers it. Nor do these ports need rights,
// or matter if another has them.
const (
	challengeHost      = "127.0.0.1"
	challengeHTTPPort  = 20080
	challengeHTTPSPort = 20443
)

// MoveChallenges changes the ACME issuers whose challenges are to be listened for on
// a network. It is to be called before any app starts.
//
// Caddy v2.11.9: the Caddyfile adapter gives them a site's `bind` as BindHost, with
// which they fail: "lookup ssh_tunnel/prod: no such host". An issuer takes a change
// when it is provisioned again, and its policy when its certmagic.Config is rebuilt.
func MoveChallenges(ctx caddy.Context, network string) error {
	app, err := ctx.AppIfConfigured("tls")
	if err != nil {
		return nil //nolint:nilerr // there is none, or Caddy says what is wrong with it
	}
	tls, ok := app.(*caddytls.TLS)
	if !ok || tls.Automation == nil {
		return nil
	}
	for _, policy := range tls.Automation.Policies {
		moved := false
		for _, issuer := range policy.Issuers {
			acme, ok := issuer.(interface {
				GetACMEIssuer() *caddytls.ACMEIssuer
			})
			if !ok || !moveChallenge(acme.GetACMEIssuer().Challenges, network) {
				continue
			}
			moved = true
			if err := acme.GetACMEIssuer().Provision(ctx); err != nil {
				return fmt.Errorf("moving challenges off the network %s: %w", network, err)
			}
		}
		if !moved {
			continue
		}
		if err := policy.RebuildCertMagic(tls); err != nil {
			return fmt.Errorf("moving challenges off the network %s: %w", network, err)
		}
	}
	return nil
}

// moveChallenge changes where challenges are listened for, and reports whether it
// had to.
func moveChallenge(c *caddytls.ChallengesConfig, network string) bool {
	if c == nil || !strings.HasPrefix(c.BindHost, network+"/") {
		return false
	}
	c.BindHost = challengeHost
	if c.HTTP == nil {
		c.HTTP = new(caddytls.HTTPChallengeConfig)
	}
	if c.HTTP.AlternatePort == 0 {
		c.HTTP.AlternatePort = challengeHTTPPort
	}
	if c.TLSALPN == nil {
		c.TLSALPN = new(caddytls.TLSALPNChallengeConfig)
	}
	if c.TLSALPN.AlternatePort == 0 {
		c.TLSALPN.AlternatePort = challengeHTTPSPort
	}
	return true
}

// adminRefusal is what AdminAPIRequest makes of an error that Caddy answers with.
var adminRefusal = regexp.MustCompile(`(?s)HTTP (\d+): (.*)`)

// AdminError returns the status and the body of the answer that an error of
// caddycmd.AdminAPIRequest tells of. It is false if there was no answer.
//
// Caddy v2.11.9: cmd/commandfuncs.go; the error wraps nothing.
func AdminError(err error) (status, body string, ok bool) {
	m := adminRefusal.FindStringSubmatch(err.Error())
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// AdminCause returns the last part of an error of caddycmd.AdminAPIRequest for a
// request that was not answered: of "performing request: Get "http://…": dial tcp …:
// connection refused" what follows the URL.
//
// Caddy v2.11.9: cmd/commandfuncs.go; the error wraps nothing.
func AdminCause(err error) string {
	if _, cause, ok := strings.Cut(err.Error(), `": `); ok {
		return cause
	}
	return err.Error()
}

var _ net.PacketConn = noPackets{}
