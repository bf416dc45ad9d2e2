// Package transport contains the reverse proxy's transport ssh_tunnel: http.Transport as
// Caddy configures it, with channels of a tunnel in place of sockets. It opens no socket
// and no tunnel. The root imports it, so that it registers itself. Package upstreams imports
// it to check the transport beside it; package need, the commands and the Go module layer4
// import it to read configurations.
package transport

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

func init() {
	caddy.RegisterModule(Transport{})
}

// Transport proxies requests to upstreams behind an SSH bastion.
//
// It takes the options of the `http` transport. Options that do not apply to a
// tunnel are errors when the configuration is loaded.
//
// Upstreams are `host:port`, whose name only the bastion resolves, or `unix//path`
// for a socket on the bastion. Without a host, as in `:8080`, the upstream is on
// the bastion itself. The bastion gets a `direct-tcpip` channel (RFC 4254 section
// 7.2) for each connection, or a `direct-streamlocal@openssh.com` channel for a
// socket. Upstreams with placeholders need the tunnel's `permit_open`.
//
// A request that cannot be sent gets one of these statuses:
//
// Status | When
// -------|------
// 403 | The tunnel's `permit_open` does not permit the upstream.
// 502 | The bastion cannot reach the upstream, or may not; or the TLS handshake with it failed.
// 503 | The tunnel is down; or it is full, and no channel has ended for `dial_timeout`.
// 504 | The tunnel did not connect, or the bastion did not answer, within `dial_timeout`; or the TLS handshake took longer than the TLS timeout.
//
// All of these except 403 are failed dials, which `lb_try_duration` retries.
//
// Upon proxying, this module sets the following placeholders (which can be used
// both within and after this handler; for example, in response headers):
//
// Placeholder | Description
// ------------|-------------
// `{http.reverse_proxy.ssh_tunnel.name}` | The name of the tunnel
// `{http.reverse_proxy.ssh_tunnel.host}` | The bastion, as host:port; of several, the one in use
// `{http.reverse_proxy.ssh_tunnel.dial_duration}` | How long it took to open the channel, the wait for a connection included; 0 if the channel was open already
// `{http.reverse_proxy.ssh_tunnel.dial_duration_ms}` | Same as 'dial_duration', but in milliseconds.
// `{http.reverse_proxy.ssh_tunnel.retry_after}` | With status 503, the number of whole seconds until the next attempt to connect, or 1 if the tunnel is full
//
// The access log has the first three in the field `ssh_tunnel`.
//
// Metrics and the admin endpoint `/reverse_proxy/upstreams` show a static
// upstream as `ssh_tunnel+<tunnel>/host:port`, or
// `unix+ssh_tunnel+<tunnel>//path`.
type Transport struct {
	// The name of the tunnel, as configured in the `ssh_tunnel` app.
	// Placeholders are not allowed. Required.
	TunnelName string `json:"tunnel"`

	*reverseproxy.HTTPTransport

	tunnel dialer.Dialer
	proxy  func(*http.Request) (*url.URL, error) // the network_proxy's; nil if there is none
	pools  *generations
	raises bool // the handler raises denials; see raiseDenials
	// byClient says that dynamic upstreams come from the request.
	byClient bool
}

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID: "http.reverse_proxy.transport.ssh_tunnel",
		New: func() caddy.Module {
			return &Transport{HTTPTransport: new(reverseproxy.HTTPTransport)}
		},
	}
}

// Provision looks the tunnel up and sets up the HTTP transport. It dials
// nothing.
func (t *Transport) Provision(ctx caddy.Context) error {
	tun, err := dialer.Lookup(ctx, t.TunnelName)
	if err != nil {
		return err
	}
	handler := contract.ParentHandler(ctx)
	if handler == nil && !tun.Restricts() {
		return fmt.Errorf("tunnel %q: only the upstreams of reverse_proxy can be checked when the configuration is loaded; add permit_open to the tunnel, to say where those of other handlers may lead", t.TunnelName)
	}
	return t.provision(ctx, tun, handler)
}

// idleChannels is the default of keepalive_idle_conns_per_host. The http
// transport's is 32; but to open a channel, the bastion has to answer, to look
// the upstream's name up and to connect to it.
const idleChannels = 256

// tlsTimeout is the default of tls_timeout. The http transport has none; but
// the bastion accepts a channel even for an upstream that is frozen.
const tlsTimeout = 10 * time.Second

// provision sets the transport up for a handler, which is nil if it is not a
// reverse_proxy.
func (t *Transport) provision(ctx caddy.Context, tun dialer.Dialer, handler *reverseproxy.Handler) error {
	if err := checkOptions(t.HTTPTransport); err != nil {
		return err
	}
	if handler != nil {
		if err := checkUpstreams(handler, tun); err != nil {
			return err
		}
		if handler.DynamicUpstreamsRaw != nil {
			t.byClient = checkSource(handler.DynamicUpstreamsRaw) != nil
			if isSourceHere(handler.DynamicUpstreamsRaw) {
				ctx.Logger().Warn("dynamic upstreams are looked up from here, not from the bastion, and the same address behind two tunnels shares its passive health; use dynamic ssh_tunnel instead",
					zap.String("tunnel", t.TunnelName))
			}
		}
		warnOfHealthChecks(ctx.Logger(), handler, tun.LazyTimeout(), t.TunnelName)
	}

	if err := checkProxy(t.HTTPTransport, tun); err != nil {
		return fmt.Errorf("network_proxy: %w", err)
	}
	if err := checkValues(t.HTTPTransport); err != nil {
		return err
	}
	idleWritten := t.KeepAlive != nil && t.KeepAlive.MaxIdleConnsPerHost != 0
	// Provisioning clears the raw field.
	proxied := len(t.NetworkProxyRaw) > 0 || t.ForwardProxyURL != ""
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return redact.Error(err)
	}

	// Every way on which http.Transport could open a socket by itself leads
	// into the tunnel.
	t.Transport.DialContext = t.dial
	t.Transport.DialTLSContext = t.dialTLS
	if !idleWritten {
		t.Transport.MaxIdleConnsPerHost = idleChannels
	}
	if t.Transport.TLSHandshakeTimeout == 0 {
		t.Transport.TLSHandshakeTimeout = tlsTimeout
	}
	if proxied { // the environment's proxy is not on the bastion's side
		t.proxy = t.Transport.Proxy
	}
	t.Transport.Proxy = func(req *http.Request) (*url.URL, error) { return dialRequestFrom(req.Context()).proxy, nil }

	t.tunnel = tun
	t.pools = newGenerations(t.Transport, tun)
	go t.pools.follow()
	if handler != nil {
		// Last, so that a configuration that is refused leaves the handler as
		// it was: it then forgets its upstreams by these names.
		renameUpstreams(handler, t.TunnelName)
		raiseDenials(handler)
		t.raises = true
	}
	return nil
}

// healthInterval is the default of health_interval.
const healthInterval = 30 * time.Second

// warnOfHealthChecks warns if a handler's active health checks use a tunnel so often that
// it is never unused long enough to disconnect.
func warnOfHealthChecks(log *zap.Logger, h *reverseproxy.Handler, lazy time.Duration, name string) {
	if lazy == 0 || h.HealthChecks == nil || h.HealthChecks.Active == nil || !h.HealthChecks.Active.IsEnabled() {
		return
	}
	if interval := cmp.Or(time.Duration(h.HealthChecks.Active.Interval), healthInterval); interval <= lazy {
		log.Warn("health checks keep a lazy tunnel connected; raise health_interval, or remove the duration of lazy",
			zap.String("tunnel", name), zap.Duration("health_interval", interval), zap.Duration("lazy", lazy))
	}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	e := &dialRequest{answered: make(chan struct{})}
	defer close(e.answered)
	ctx, taken := watchChannel(context.WithValue(req.Context(), dialRequestKey{}, e))
	out := req.WithContext(ctx)
	out.URL = new(*req.URL)
	t.SetScheme(out)
	if err := t.prepare(e, out); err != nil {
		return t.deny(req, err)
	}
	res, err := t.pools.RoundTrip(out)
	if err != nil {
		setRetryAfter(req, err)
	}
	t.report(req, taken.Load())
	return res, err
}

// LookupFailed sets what a request has of the transport, if there are no upstreams to
// send it to since their lookup has failed. Caddy then answers with status 503.
func (t *Transport) LookupFailed(req *http.Request, err error) {
	t.report(req, nil)
	setRetryAfter(req, newDialError(err))
}

// Cleanup closes idle connections. Requests that are still under way go on,
// and close theirs when they end.
func (t *Transport) Cleanup() error {
	if t.pools != nil {
		t.pools.close()
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Transport)(nil)
	_ caddy.CleanerUpper    = (*Transport)(nil)
	_ caddyfile.Unmarshaler = (*Transport)(nil)
	_ http.RoundTripper     = (*Transport)(nil)

	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)
)
