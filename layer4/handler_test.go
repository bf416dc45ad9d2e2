package layer4

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	l4 "github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tee"
	"github.com/mholt/caddy-l4/modules/l4throttle"
	"github.com/pires/go-proxyproto"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// around does what the handlers before ours in a route do with a connection.
type around func(cx *l4.Connection, next l4.Handler) error

// provisioned returns a handler that dials through tun, and what it logs.
func provisioned(t *testing.T, h *Handler, tun dialer.Dialer) *observer.ObservedLogs {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	h.TunnelName = "prod"
	if err := h.provision(zap.New(core), tun); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	return logs
}

// serve handles the connections of a loopback listener as caddy-l4's server does, whose
// matchers have read the first three bytes already.
func serve(t *testing.T, h *Handler, before around) (address string) {
	t.Helper()
	return serveMatched(t, h, 3, before)
}

func serveMatched(t *testing.T, h *Handler, read int, before around) (address string) {
	t.Helper()
	if before == nil {
		before = func(cx *l4.Connection, next l4.Handler) error { return next.Handle(cx) }
	}
	ln := caddytest.Loopback(t)
	// It returns when the listener is closed, and each connection when it has ended.
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				matched := make([]byte, read)
				if _, err := io.ReadFull(c, matched); err != nil {
					t.Error(err)
					return
				}
				cx := l4.WrapConnection(c, matched, zap.NewNop())
				cx.SetVar("where", "echo.internal")
				_ = before(cx, l4.HandlerFunc(func(cx *l4.Connection) error { return h.Handle(cx, nil) }))
			}()
		}
	}()
	return ln.Addr().String()
}

func throttled(cx *l4.Connection, next l4.Handler) error {
	h := &l4throttle.Handler{Latency: caddy.Duration(time.Microsecond), ReadBytesPerSecond: 1e9}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := h.Provision(ctx); err != nil {
		return err
	}
	return h.Handle(cx, next)
}

// discard is a branch for tee, which needs one that reads.
type discard struct{}

func (discard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.discard", New: func() caddy.Module { return new(discard) }}
}

func (discard) Handle(cx *l4.Connection, _ l4.Handler) error {
	_, err := io.Copy(io.Discard, cx)
	return err
}

func init() { caddy.RegisterModule(discard{}) }

func teed(cx *l4.Connection, next l4.Handler) error {
	h := &l4tee.Handler{HandlersRaw: []json.RawMessage{[]byte(`{"handler": "discard"}`)}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := h.Provision(ctx); err != nil {
		return err
	}
	return h.Handle(cx, next)
}

func proxied(cx *l4.Connection, next l4.Handler) error {
	conn := proxyproto.NewConn(cx, proxyproto.WithBufferSize(l4.MaxBufLen))
	_ = conn.ProxyHeader() // before what matchers have read is handed on
	return next.Handle(cx.Wrap(conn))
}

// TestLayers: whatever caddy-l4 has put around a connection, its directions end one by
// one, and a stream that was cut ends with an error.
func TestLayers(t *testing.T) {
	ca := sshtest.NewCA()
	encrypted := func(cx *l4.Connection, next l4.Handler) error {
		conn := tls.Server(cx, &tls.Config{Certificates: []tls.Certificate{ca.Issue("front.test")}})
		if err := conn.HandshakeContext(context.Background()); err != nil {
			return err
		}
		return next.Handle(cx.Wrap(conn))
	}
	plain := func(c *net.TCPConn) dialer.Channel { return c }
	for name, tt := range map[string]struct {
		before around
		client func(c *net.TCPConn) dialer.Channel
		from   string // the originator, if it is not the client
	}{
		"none":     {nil, plain, ""},
		"throttle": {throttled, plain, ""},
		"tls": {encrypted, func(c *net.TCPConn) dialer.Channel {
			return tls.Client(c, &tls.Config{RootCAs: ca.Pool(), ServerName: "front.test"})
		}, ""},
		"proxy_protocol": {proxied, func(c *net.TCPConn) dialer.Channel {
			_, _ = io.WriteString(c, "PROXY TCP4 192.0.2.1 192.0.2.2 7 443\r\n")
			return c
		}, "192.0.2.1:7"},
		"tee and throttle": {func(cx *l4.Connection, next l4.Handler) error {
			return teed(cx, l4.HandlerFunc(func(cx *l4.Connection) error { return throttled(cx, next) }))
		}, plain, ""},
	} {
		t.Run(name, func(t *testing.T) {
			target := caddytest.ListenAndCount(t)
			matched := 3
			if strings.HasPrefix(name, "tee") {
				matched = 0 // it would give these bytes twice
			}
			serve := func(tun *caddytest.Tunnel) (address string) {
				tun.Routes = map[string]string{"echo.internal:7": target.Addr().String()}
				h := &Handler{Target: "echo.internal:7"}
				provisioned(t, h, tun)
				return serveMatched(t, h, matched, tt.before)
			}
			tun := new(caddytest.Tunnel)

			// The target ends its direction first, and gets the whole of the other.
			raw := caddytest.DialTCP(t, serve(tun))
			conn := tt.client(raw)
			send(t, conn, "hello")
			upstream := caddytest.Expect(t, target.Conns, []byte("hello"))
			send(t, upstream, "bye")
			_ = upstream.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(conn); err != nil || string(got) != "bye" {
				t.Errorf("the client got %q (%v)", got, err)
			}
			send(t, conn, "more")
			_ = conn.CloseWrite()
			if got, err := io.ReadAll(upstream); err != nil || string(got) != "more" {
				t.Errorf("the target got %q (%v)", got, err)
			}
			want := raw.LocalAddr().(*net.TCPAddr).AddrPort()
			if tt.from != "" {
				want = netip.MustParseAddrPort(tt.from)
			}
			if dialed := tun.Dialed(); len(dialed) != 1 || dialed[0].Originator != want || dialed[0].Class != tunnel.Stream {
				t.Errorf("dialed %+v for %s", dialed, want)
			}

			// The target's connection is lost.
			losing := &caddytest.Tunnel{Wrap: func(c dialer.Channel) dialer.Channel { return caddytest.LostChannel{Channel: c} }}
			conn = tt.client(caddytest.DialTCP(t, serve(losing)))
			send(t, conn, "hello")
			_ = caddytest.Expect(t, target.Conns, []byte("hello")).Close()
			if got, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client of a lost connection got %q (%v)", got, err)
			}
		})
	}
}

func send(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// TestChosenTarget: a connection's placeholders lead to what is permitted, and nothing
// else is dialed.
func TestChosenTarget(t *testing.T) {
	target := caddytest.ListenAndCount(t)
	tun := &caddytest.Tunnel{
		Permission: caddytest.Permitting(t, "*.internal:7", "unix//run/app.sock"),
		Routes:     map[string]string{"echo.internal:7": target.Addr().String()},
	}
	h := &Handler{Target: "{l4.vars.where}:7"}
	logs := provisioned(t, h, tun)
	conn := caddytest.DialTCP(t, serve(t, h, nil))
	send(t, conn, "hello")
	caddytest.Expect(t, target.Conns, []byte("hello"))
	want := tunnel.Target{
		Network: "tcp", Address: "echo.internal:7", Class: tunnel.Stream, ByClient: true,
		Originator: conn.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
	if got := tun.Dialed(); len(got) != 1 || got[0] != want {
		t.Errorf("dialed %+v, want %+v", got, want)
	}

	for where, wantErr := range map[string]string{
		"web.example.com": `tunnel "prod": target "web.example.com:7" is not permitted by permit_open`,
		"":                `target "{l4.vars.where}:7": evaluated placeholder {l4.vars.where} is empty`,
		"a:7":             "an IPv6 address stands in brackets",
		"unix//run":       "a placeholder cannot say that the target is a socket",
		"udp/a":           `network "udp" does not go through a tunnel`,
		"a b":             `target "a b:7"`,
	} {
		address := serve(t, h, func(cx *l4.Connection, next l4.Handler) error {
			cx.SetVar("where", where)
			return next.Handle(cx)
		})
		if err := refused(t, address); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q: the client got %v", where, err)
		}
		failed := logs.FilterMessage("dialing target failed").TakeAll()
		if len(failed) != 1 || failed[0].Level != zapcore.ErrorLevel || !strings.Contains(failed[0].ContextMap()["error"].(string), wantErr) {
			t.Errorf("%q: logged %v, want %q", where, failed, wantErr)
		}
		logs.TakeAll()
	}
	if n := len(tun.Dialed()); n != 1 {
		t.Errorf("%d targets were dialed", n)
	}
}

// refused returns how a connection ends that is not forwarded.
func refused(t *testing.T, address string) error {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err = io.WriteString(conn, "hello"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn)
	return err
}

// TestMaxConnectionsAcrossReload: the handler of the next configuration counts what is
// left of the last, and a later one begins at zero.
func TestMaxConnectionsAcrossReload(t *testing.T) {
	target := caddytest.ListenAndCount(t)
	newHandler := func() *Handler {
		h := &Handler{Target: target.Addr().String(), ForwardOptions: config.ForwardOptions{MaxConnections: 1}}
		provisioned(t, h, new(caddytest.Tunnel))
		return h
	}
	before := newHandler()
	first := caddytest.DialTCP(t, serve(t, before, nil))
	send(t, first, "hello")
	caddytest.Expect(t, target.Conns, []byte("hello"))
	after := newHandler()
	_ = before.Cleanup()
	if err := refused(t, serve(t, after, nil)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the second connection ends with %v", err)
	}
	_ = after.Cleanup()

	last := caddytest.DialTCP(t, serve(t, newHandler(), nil))
	send(t, last, "hello")
	caddytest.Expect(t, target.Conns, []byte("hello"))
}

// TestExit: the end of the process ends connections with a reset, through all layers.
func TestExit(t *testing.T) {
	target := caddytest.ListenAndCount(t)
	h := &Handler{Target: target.Addr().String()}
	provisioned(t, h, new(caddytest.Tunnel))
	conn := caddytest.DialTCP(t, serve(t, h, throttled))
	send(t, conn, "hello")
	caddytest.Expect(t, target.Conns, []byte("hello"))
	rawconn.Open.End(0)
	t.Cleanup(func() { rawconn.Open = new(forward.Registry) }) // for the other tests
	if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v", err)
	}
}

// packetConn is a connection that packets make.
type packetConn struct{ net.Conn }

func (packetConn) LocalAddr() net.Addr { return new(net.UDPAddr) }

// TestPackets: what came in packets is not forwarded, whichever way it came.
func TestPackets(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	tun := new(caddytest.Tunnel)
	h := &Handler{Target: "dns.internal:53"}
	provisioned(t, h, tun)
	err := h.Handle(l4.WrapConnection(packetConn{theirs}, nil, zap.NewNop()), nil)
	if !errors.Is(err, errPacket) || len(tun.Dialed()) != 0 {
		t.Errorf("got error %v, dialed %v", err, tun.Dialed())
	}
}
