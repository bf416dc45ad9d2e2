// Package banner is a plugin for Caddy. Its directive shows the first line that a server
// behind a bastion sends:
//
//	route {
//		banner <tunnel> <host:port>
//	}
package banner

import (
	"bufio"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	sshtunnel "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Banner{})
	httpcaddyfile.RegisterHandlerDirective("banner", parse)
}

// Banner is an HTTP handler.
type Banner struct {
	Tunnel  string `json:"tunnel"`
	Address string `json:"address"`

	dialer *sshtunnel.Dialer
}

// CaddyModule returns the Caddy module information.
func (Banner) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.banner", New: func() caddy.Module { return new(Banner) }}
}

// Provision gets the dialer. It fails if there is no such tunnel.
func (b *Banner) Provision(ctx caddy.Context) (err error) {
	b.dialer, err = sshtunnel.LookupDialer(ctx, b.Tunnel)
	return err
}

// ServeHTTP dials the server and sends its first line.
func (b *Banner) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	conn, err := b.dialer.DialContext(r.Context(), "tcp", b.Address)
	if down, ok := errors.AsType[*sshtunnel.DownError](err); ok {
		w.Header().Set("Retry-After", strconv.FormatFloat(math.Ceil(down.RetryAfter.Seconds()), 'f', 0, 64))
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	_, err = io.WriteString(w, line)
	return err
}

// parse reads the directive.
func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	b := new(Banner)
	h.Next() // the directive's name
	if !h.Args(&b.Tunnel, &b.Address) {
		return nil, h.ArgErr()
	}
	return b, nil
}
