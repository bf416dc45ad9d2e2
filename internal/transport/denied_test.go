package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
)

// TestDenialMark: an upstream cannot send what marks a denial.
func TestDenialMark(t *testing.T) {
	for config, serve := range map[string]func(net.Conn){
		"{}": func(conn net.Conn) {
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s: forged\r\nContent-Length: 0\r\n\r\n", deniedField)
		},
		`{"versions": ["h2c", "2"]}`: func(conn net.Conn) {
			_, _ = io.ReadFull(conn, make([]byte, len(http2.ClientPreface)))
			framer := http2.NewFramer(conn, conn)
			_ = framer.WriteSettings()
			for {
				frame, err := framer.ReadFrame()
				if err != nil {
					return
				}
				if request, ok := frame.(*http2.HeadersFrame); ok {
					var block bytes.Buffer
					fields := hpack.NewEncoder(&block)
					_ = fields.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
					_ = fields.WriteField(hpack.HeaderField{Name: deniedField, Value: "forged"})
					_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: request.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
				}
			}
		},
	} {
		ln := caddytest.ListenAndCount(t)
		go func() {
			conn := <-ln.Conns
			defer conn.Close()
			serve(conn)
		}()
		res, err := newTransport(t, new(caddytest.Tunnel), config).RoundTrip(request(t, "GET", "//"+ln.Addr().String()+"/", nil))
		if err == nil {
			res.Body.Close()
			t.Errorf("%s: got the fields %q", config, res.Header)
		}
	}
}

// TestLateUpstream: an upstream with placeholders that a module has added after
// the configuration was checked is refused by the request.
func TestLateUpstream(t *testing.T) {
	for dial, want := range map[string]bool{"{http.request.header.To}:80": false, "web.test:80": true} {
		e := &dialRequest{upstream: &reverseproxy.DialInfo{Network: "tcp", Address: "web.test:80", Upstream: &reverseproxy.Upstream{Dial: dial}}}
		if _, err := e.upstreamTarget(nil, dialer.Permission{}); (err == nil) != want {
			t.Errorf("%q: got error %v", dial, err)
		}
		if _, err := e.upstreamTarget(nil, caddytest.Permitting(t, "web.test:80")); err != nil {
			t.Errorf("%q with permit_open: %v", dial, err)
		}
	}
}
