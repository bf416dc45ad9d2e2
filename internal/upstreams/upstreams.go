// Package upstreams contains the reverse proxy's dynamic upstreams ssh_tunnel: A, AAAA and
// SRV records, as DNS servers behind a bastion have them. It asks those servers over
// channels of a tunnel, and nothing of this machine: neither its resolver nor its hosts
// file. The root imports it, so that it registers itself; package need reads resolvers
// with it.
//
//	upstreams.go  the module, and what a request gets
//	caddyfile.go  its Caddyfile
//	check.go      what is refused when the configuration is loaded
//	cache.go      answers, and the lookups that replace them
//	lookup.go     from the names in a configuration to the addresses of upstreams
//	query.go      one DNS query over one channel
package upstreams

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func init() {
	caddy.RegisterModule(Upstreams{})
}

// Type says which records are looked up.
type Type string

// The types of lookups.
const (
	// TypeA are A and AAAA records, whose addresses share one port.
	TypeA Type = "a"
	// TypeSRV are SRV records (RFC 2782), which name hosts and their ports.
	TypeSRV Type = "srv"
)

// Upstreams provides the upstreams that A, AAAA or SRV records name behind an SSH
// bastion.
//
// Caddy asks the DNS servers in `resolvers` over TCP, through channels of the tunnel. It
// looks nothing up on its own machine. The transport of the same `reverse_proxy` has to
// be `ssh_tunnel`, with the same tunnel.
//
// Answers are cached for `refresh`. If the DNS servers fail, the last answer serves for
// `grace_period` longer. An answer that a name does not exist, or has no such records,
// is no failure.
//
// The tunnel's `permit_open` applies to the DNS servers and to the upstreams. Caddy
// leaves out upstreams that are not permitted; if none is, requests get status 403.
// If there is no answer, requests get status 503.
type Upstreams struct {
	// The name of the tunnel, as configured in the `ssh_tunnel` app: that of the
	// transport. Placeholders are not allowed. Required.
	TunnelName string `json:"tunnel"`

	// Which records to look up: `a` for A and AAAA records, or `srv`. Required.
	Type Type `json:"type"`

	// The domain name to look up. With `service` and `proto`, the part behind these.
	// Placeholders need the tunnel's `permit_open`. Required.
	Name string `json:"name"`

	// The port of the upstreams, for `a`. Placeholders need the tunnel's `permit_open`.
	// Default: `80`.
	Port string `json:"port,omitempty"`

	// The service label, for `srv`, as in `http`. Default: none, `name` is the entire
	// domain name.
	Service string `json:"service,omitempty"`

	// The protocol label, for `srv`, as in `tcp`. Default: none, `name` is the entire
	// domain name.
	Proto string `json:"proto,omitempty"`

	// The DNS servers, as seen from the bastion: `host` or `host:port`, where the port is
	// 53 if there is none. Caddy asks them in this order, until one answers. Required.
	Resolvers []string `json:"resolvers"`

	// The interval at which to look the name up again, such as `10s`. Default: `1m`.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How long an answer serves beyond `refresh` while no DNS server answers, such as
	// `10m`. Default: not at all.
	GracePeriod caddy.Duration `json:"grace_period,omitempty"`

	// How long to wait for the channel to a DNS server, such as `5s`. Default: `3s`.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`

	// The IP versions to look up, for `a`: `ipv4` for A records, `ipv6` for AAAA
	// records. Default: both.
	Versions []string `json:"versions,omitempty"`

	tunnel    dialer.Dialer
	transport *transport.Transport
	resolver  *resolver
	cache     *cache
	held      bool // the cache, until Cleanup
	log       *zap.Logger
	limiter   *loglimit.Limiter // of log
}

// CaddyModule returns the Caddy module information.
func (Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.ssh_tunnel",
		New: func() caddy.Module { return new(Upstreams) },
	}
}

// Defaults of options. That of dial_timeout is the transport's as well.
const (
	defaultRefresh     = time.Minute
	defaultDialTimeout = 3 * time.Second
	defaultPort        = "80"
)

// Provision checks the options, and that the upstreams cannot be dialed around the
// tunnel. It looks nothing up.
func (u *Upstreams) Provision(ctx caddy.Context) error {
	tun, err := dialer.Lookup(ctx, u.TunnelName)
	if err != nil {
		return err
	}
	if u.transport, err = pairedTransport(contract.SourceHandler(ctx), u.TunnelName); err != nil {
		return err
	}
	u.log = ctx.Logger()
	return u.provision(tun)
}

// provision is Provision once the tunnel and the transport are known.
func (u *Upstreams) provision(tun dialer.Dialer) error {
	servers, err := u.check(tun)
	if err != nil {
		return err
	}
	u.Refresh = cmp.Or(u.Refresh, caddy.Duration(defaultRefresh))
	u.DialTimeout = cmp.Or(u.DialTimeout, caddy.Duration(defaultDialTimeout))
	if u.Type == TypeA {
		u.Port = cmp.Or(u.Port, defaultPort)
	}
	u.tunnel, u.limiter = tun, new(loglimit.Limiter)
	u.resolver = &resolver{dial: tun.Dial, servers: servers, dialTimeout: time.Duration(u.DialTimeout)}
	u.cache, err = acquireCache(u.cacheKey())
	u.held = err == nil
	return err
}

// Cleanup lets go of the answers. Unless another configuration uses them, it ends the
// lookups, and requests that are still under way get the answers that there are.
func (u *Upstreams) Cleanup() error {
	if !u.held {
		return nil
	}
	u.held = false
	return releaseCache(u.cacheKey())
}

// cacheKey identifies what is looked up, and where. The same in the next configuration
// finds the answers of this one.
func (u *Upstreams) cacheKey() cacheKey {
	options, _ := json.Marshal(Upstreams{ // it has nothing that cannot be marshaled
		Type: u.Type, Name: u.Name, Port: u.Port, Service: u.Service, Proto: u.Proto,
		Resolvers: u.Resolvers, Versions: u.Versions,
	})
	return cacheKey{u.tunnel.Key(), string(options)}
}

// GetUpstreams implements reverseproxy.UpstreamSource.
func (u *Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	addresses, err := u.addresses(r)
	if err != nil {
		u.transport.LookupFailed(r, err)
		return nil, err
	}
	addresses = u.permitted(addresses)
	found := make([]*reverseproxy.Upstream, len(addresses))
	for i, address := range addresses {
		found[i] = &reverseproxy.Upstream{Dial: contract.NameUpstream("", address, u.TunnelName)}
	}
	return found, nil
}

// addresses returns where a request may go, as "host:port".
func (u *Upstreams) addresses(r *http.Request) ([]string, error) {
	q, err := u.question(r)
	if err != nil {
		return nil, err
	}
	validity := validity{refresh: time.Duration(u.Refresh), grace: time.Duration(u.GracePeriod)}
	return u.cache.get(r.Context(), q, validity, func(ctx context.Context) ([]string, error) {
		return u.lookup(ctx, q)
	})
}

// permitted returns the addresses that permit_open permits. If it permits none, it
// returns the first: the transport then answers with status 403.
func (u *Upstreams) permitted(addresses []string) []string {
	if !u.tunnel.Restricts() {
		return addresses
	}
	permitted := make([]string, 0, len(addresses))
	for _, address := range addresses {
		if u.permits(address) {
			permitted = append(permitted, address)
		}
	}
	if len(permitted) == 0 {
		return addresses[:min(1, len(addresses))]
	}
	return permitted
}

func (u *Upstreams) permits(address string) bool {
	_, err := u.tunnel.Permit(tunnel.Target{Network: "tcp", Address: address})
	return err == nil
}

// ResetCache implements reverseproxy.CachingUpstreamSource: a request has failed at one
// of its upstreams, and is about to be tried again.
func (u *Upstreams) ResetCache(r *http.Request) error {
	if r == nil {
		u.cache.expireAll()
		return nil
	}
	q, err := u.question(r)
	if err == nil {
		u.cache.expire(q)
	}
	return err
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Upstreams)(nil)
	_ caddy.CleanerUpper    = (*Upstreams)(nil)
	_ caddyfile.Unmarshaler = (*Upstreams)(nil)

	_ reverseproxy.CachingUpstreamSource = (*Upstreams)(nil)
)
