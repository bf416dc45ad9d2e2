package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// TestDialErrors checks what Caddy finds in the error of a round trip.
func TestDialErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		err        error
		status     int
		retryAfter any
	}{
		"down": {&tunnel.DownError{Tunnel: "t", Cause: errors.New("refused"), RetryAfter: 1200 * time.Millisecond}, 503, 2},
		// What it was down with must not count.
		"down after a timeout": {&tunnel.DownError{Tunnel: "t", Cause: &tunnel.TimeoutError{Cause: context.DeadlineExceeded}}, 503, 1},
		"down when cancelled":  {&tunnel.DownError{Tunnel: "t", Cause: context.Canceled, RetryAfter: time.Minute}, 503, 60},
		"closed":               {tunnel.ErrClosed, 503, 1},
		"timeout":              {&tunnel.TimeoutError{Tunnel: "t", Doing: "opening", Cause: context.DeadlineExceeded}, 504, ""},
		"cancelled":            {&tunnel.TimeoutError{Tunnel: "t", Doing: "opening", Cause: context.Canceled}, 504, ""},
		"refused":              {&failure.OpenError{Tunnel: "t", Target: "web:80", Reason: failure.OpenRefused}, 502, ""},
		"unreachable slowly":   {&failure.OpenError{Tunnel: "t", Target: "web:80", Reason: failure.OpenTimedOut}, 502, ""},
		"bare cancellation":    {context.Canceled, 502, ""},
	} {
		for _, config := range []string{`{}`, `{"network_proxy": {"from": "url", "url": "http://proxy:3128"}}`} {
			t.Run(name, func(t *testing.T) {
				tun := &caddytest.Tunnel{Err: tt.err}
				tr := newTransport(t, tun, config)
				req := request(t, "POST", "http://web/", nil)
				repl := req.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
				repl.Set(retryAfterPlaceholder, "stale")
				res, err := tr.RoundTrip(req)
				if err == nil {
					res.Body.Close()
					t.Fatal("no error")
				}
				if !strings.Contains(err.Error(), tt.err.Error()) {
					t.Errorf("got error %q, want %q in it", err, tt.err)
				}
				if _, ok := errors.AsType[reverseproxy.DialError](err); !ok {
					t.Error("is not a DialError: a POST would not be retried")
				}
				if errors.Is(err, context.Canceled) {
					t.Error("is context.Canceled: the client would count as gone")
				}
				if got := caddyhttp.Error(502, err).StatusCode; got != tt.status {
					t.Errorf("gives status %d, want %d", got, tt.status)
				}
				got, _ := repl.Get(retryAfterPlaceholder)
				if got != tt.retryAfter {
					t.Errorf("retry_after is %v, want %v", got, tt.retryAfter)
				}
			})
		}
	}
}

// silentTunnel never connects.
type silentTunnel struct{ caddytest.Tunnel }

func (*silentTunnel) Dial(ctx context.Context, _ tunnel.Target) (dialer.Channel, error) {
	<-ctx.Done()
	return nil, &tunnel.TimeoutError{Tunnel: "silent", Doing: "connecting", Cause: ctx.Err()}
}

func TestDialTimeout(t *testing.T) {
	tr := newTransport(t, new(silentTunnel), `{"dial_timeout": 50000000}`)
	sshtest.Eventually(t, sshtest.Patience, "one ends before the default timeout", func() bool {
		start := time.Now()
		res, err := tr.RoundTrip(request(t, "GET", "http://web/", nil))
		if err == nil {
			res.Body.Close()
			t.Fatal("no error")
		}
		if got := caddyhttp.Error(502, err).StatusCode; got != 504 {
			t.Errorf("gives status %d (%v)", got, err)
		}
		return time.Since(start) < 3*time.Second
	})
	if tr := newTransport(t, new(silentTunnel), ""); time.Duration(tr.DialTimeout) != 3*time.Second {
		t.Errorf("the default is %v", time.Duration(tr.DialTimeout))
	}
}

// TestClientLeaves: only then context.Canceled is right.
func TestClientLeaves(t *testing.T) {
	tr := newTransport(t, new(silentTunnel), `{"dial_timeout": 3600000000000}`)
	req := request(t, "GET", "http://web/", nil)
	ctx, cancel := context.WithCancel(req.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	res, err := tr.RoundTrip(req.WithContext(ctx))
	if err == nil {
		res.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
}

func TestTransportNetworkProxy(t *testing.T) {
	// A proxy that answers by itself instead of asking the upstream.
	proxy := sshtest.NewWeb(t, sshtest.WebOptions{Name: "proxy"})
	tun := &caddytest.Tunnel{Routes: map[string]string{"proxy.test:3128": proxy.Addr()}}
	tr := newTransport(t, tun, `{"network_proxy": {"from": "url", "url": "http://proxy.test:3128"}}`)
	if body := get(t, tr, withUpstream(request(t, "GET", "//web.test/hello", nil), "web.test:80")); body != "hello from proxy\n" {
		t.Errorf("got %q", body)
	}
	if got := tun.Dialed(); len(got) != 1 || got[0].Address != "proxy.test:3128" {
		t.Errorf("dialed %+v", got)
	}
	// A unix upstream is not behind the proxy, though URL.Host says so.
	tun.Fail(errors.New("enough"))
	req := request(t, "GET", "//web.test/hello", nil)
	info := reverseproxy.DialInfo{Network: "unix+ssh_tunnel+t", Address: "/run/web.sock"}
	tr = newTransport(t, tun, `{"network_proxy": {"from": "url", "url": "http://proxy.test:3128"}}`)
	res, err := tr.RoundTrip(req.WithContext(context.WithValue(req.Context(), caddy.CtxKey("reverse_proxy.dial_info"), info)))
	if err == nil {
		res.Body.Close()
	}
	if got := tun.Dialed(); got[len(got)-1] != (tunnel.Target{Network: "unix", Address: "/run/web.sock"}) {
		t.Errorf("dialed %+v", got)
	}
}

// TestReadTimeout: the upstream answers, and then falls silent.
func TestReadTimeout(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	tr := newTransport(t, new(caddytest.Tunnel), `{"read_timeout": 100000000}`)
	res, err := tr.RoundTrip(request(t, "GET", "//"+web.Addr()+"/stream/100?chunk=10&every=10s", nil))
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}
	if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
		t.Errorf("got error %v", err)
	}
}

func TestTimeoutConn(t *testing.T) {
	ln := caddytest.ListenAndCount(t)
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer := <-ln.Conns
	defer peer.Close()

	c := &timeoutConn{Channel: conn.(dialer.Channel), read: 50 * time.Millisecond, write: 50 * time.Millisecond}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading: got error %v", err)
	}
	for err = nil; err == nil; { // until the peer's buffers are full
		_, err = c.Write(make([]byte, 1<<20))
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing: got error %v", err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, peer); err != nil {
		t.Errorf("after CloseWrite: %v", err)
	}
}

func TestCutResponse(t *testing.T) {
	for name, header := range map[string]string{
		"close-delimited": "",
		"with a length":   "Content-Length: 100\r\n",
		"chunked":         "Transfer-Encoding: chunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			ln := caddytest.ListenAndCount(t)
			tun := &caddytest.Tunnel{Wrap: func(c dialer.Channel) dialer.Channel { return caddytest.LostChannel{Channel: c} }}
			tr := newTransport(t, tun, "")
			go func() {
				conn := <-ln.Conns
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n%s\r\n5\r\nhello\r\n", header)
				_ = conn.Close()
			}()
			res, err := tr.RoundTrip(request(t, "GET", "//"+ln.Addr().String()+"/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("read %q, then %v", body, err)
			}
		})
	}
}
