package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// Placeholders of a request that was sent through a tunnel, or should have been:
// once for all tries, of the last. The host is that of the bastion in use, and
// the dial's duration what it took to open the channel: nothing for one that was
// there already. Both are empty if the request was not sent.
const (
	namePlaceholder           = "http.reverse_proxy.ssh_tunnel.name"
	hostPlaceholder           = "http.reverse_proxy.ssh_tunnel.host"
	dialDurationPlaceholder   = "http.reverse_proxy.ssh_tunnel.dial_duration"
	dialDurationMSPlaceholder = "http.reverse_proxy.ssh_tunnel.dial_duration_ms"
)

// usedChannel is the channel that a request was sent through.
type usedChannel struct {
	host string
	// dialed is how long the dial took; 0 for a channel that was there.
	dialed time.Duration
}

// watchChannel returns a context in which http.Transport tells which channel a
// request gets.
func watchChannel(ctx context.Context) (context.Context, *atomic.Pointer[usedChannel]) {
	taken := new(atomic.Pointer[usedChannel])
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			p := channelOf(info.Conn)
			if p != nil && info.Reused {
				p.dialed = 0
			}
			taken.Store(p)
		},
	}), taken
}

// channelOf looks for a tunnel's channel in what http.Transport has as a
// connection. It returns nil if there is none.
func channelOf(conn net.Conn) *usedChannel {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			conn = c.NetConn()
		case *timeoutConn:
			conn = c.Channel
		case interface {
			Host() string
			DialDuration() time.Duration
		}:
			return &usedChannel{c.Host(), c.DialDuration()}
		default:
			return nil
		}
	}
}

// report sets the placeholders, and the fields of the access log.
func (t *Transport) report(req *http.Request, p *usedChannel) {
	host, took, takenMS := "", any(""), any("")
	if p != nil {
		host, took, takenMS = p.host, p.dialed, p.dialed.Seconds()*1e3
	}
	if repl, ok := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set(namePlaceholder, t.TunnelName)
		repl.Set(hostPlaceholder, host)
		repl.Set(dialDurationPlaceholder, took)
		repl.Set(dialDurationMSPlaceholder, takenMS)
	}
	extra, ok := req.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return // a health check
	}
	fields := []zap.Field{zap.String("name", t.TunnelName)}
	if p != nil {
		fields = append(fields, zap.String("host", p.host), zap.Duration("dial_duration", p.dialed))
	}
	extra.Set(zap.Dict("ssh_tunnel", fields...))
}
