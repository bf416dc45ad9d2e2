package transport

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestNoDirectDial listens where a transport would go if it went by itself: at
// the upstream's address, at HTTP_PROXY's and at network_proxy's. The tunnel
// refuses everything, so nobody may come.
func TestNoDirectDial(t *testing.T) {
	const envMark = "SSH_TUNNEL_TEST_DIRECT"
	if os.Getenv(envMark) == "" {
		// net/http reads the environment once a process: a fresh one is needed.
		ln := caddytest.ListenAndCount(t)
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoDirectDial$", "-test.v")
		proxy := "http://" + ln.Addr().String()
		cmd.Env = append(os.Environ(), envMark+"=1", "HTTP_PROXY="+proxy, "HTTPS_PROXY="+proxy, "ALL_PROXY="+proxy, "NO_PROXY=")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestNoDirectDial") {
			t.Fatalf("%v\n%s", err, out)
		}
		if n := ln.Accepted(); n > 0 {
			t.Errorf("%d connections to the environment's proxy", n)
		}
		return
	}

	upstream, proxy := caddytest.ListenAndCount(t), caddytest.ListenAndCount(t)
	address, proxyAddress := upstream.Addr().String(), proxy.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	network := `"network_proxy": {"from": "url", "url": "` + "%s://" + proxyAddress + `"}`
	ca := sshtest.NewCA()
	keyFile, certFile := clientCert(t, ca)
	for _, tt := range []struct {
		config string
		want   string // the address that is dialed, if it is not the upstream's
	}{
		{`{}`, ""},
		{`{"network_proxy": {"from": "none"}}`, ""},
		{`{` + fmt.Sprintf(network, "http") + `}`, proxyAddress},
		{`{` + fmt.Sprintf(network, "https") + `}`, proxyAddress},
		{`{` + fmt.Sprintf(network, "socks5") + `}`, proxyAddress},
		{`{` + fmt.Sprintf(network, "socks5h") + `, "tls": {}}`, proxyAddress},
		{`{` + fmt.Sprintf(network, "http") + `, "tls": {"server_name": "{http.vars.x}"}}`, proxyAddress},
		{`{"forward_proxy_url": "http://` + proxyAddress + `"}`, proxyAddress},
		{`{"tls": {}}`, ""},
		{`{"tls": {"insecure_skip_verify": true, "handshake_timeout": 1000000000, "renegotiation": "freely", "curves": ["x25519"]}}`, ""},
		{`{"tls": {"server_name": "a.test"}}`, ""},
		{`{"tls": {"server_name": "{http.vars.x}"}}`, ""},
		{`{"tls": {"except_ports": ["` + port + `"]}}`, ""},
		{`{"tls": {"client_certificate_file": "` + certFile + `", "client_certificate_key_file": "` + keyFile + `"}}`, ""},
		{`{"tls": {}, "proxy_protocol": "v2"}`, ""},
		{`{"proxy_protocol": "v1"}`, ""},
		{`{"tls": {}, "versions": ["2"]}`, ""},
		{`{"tls": {}, "versions": ["1.1"]}`, ""},
		{`{"versions": ["h2c", "2"]}`, ""},
		{`{"keep_alive": {"enabled": false, "max_idle_conns": 1, "max_idle_conns_per_host": 1, "idle_timeout": 1000000000}}`, ""},
		{`{"compression": false, "max_conns_per_host": 1, "max_response_header_size": 1, "write_buffer_size": 1, "read_buffer_size": 1}`, ""},
		{`{"read_timeout": 1000000000, "write_timeout": 1000000000, "dial_timeout": 1000000000}`, ""},
		{`{"response_header_timeout": 1000000000, "expect_continue_timeout": 1000000000}`, ""},
	} {
		t.Run(tt.config, func(t *testing.T) {
			tun := &caddytest.Tunnel{Err: errors.New("not through here")}
			tr := newTransport(t, tun, tt.config)
			vars := map[string]any{contract.ProxyProtocolInfoVar: reverseproxy.ProxyProtocolInfo{AddrPort: netip.MustParseAddrPort("192.0.2.1:1")}}
			// net/http has no proxy for a loopback address; the other leads
			// nowhere, but it would to the proxy.
			for _, host := range []string{address, "upstream.test:" + port} {
				for _, scheme := range []string{"", "http:", "https:"} {
					for _, upgrade := range []string{"", "websocket"} {
						req := request(t, "GET", scheme+"//"+host+"/", vars)
						if upgrade != "" {
							req.Header.Set("Connection", "Upgrade")
							req.Header.Set("Upgrade", upgrade)
						}
						before := len(tun.Dialed())
						res, err := tr.RoundTrip(req)
						if err == nil {
							res.Body.Close()
							t.Errorf("%s: got an answer", req.URL)
						}
						want := cmp.Or(tt.want, host)
						if got := tun.Dialed()[before:]; len(got) != 1 || got[0].Address != want {
							t.Errorf("%s: dialed %+v through the tunnel, want %s", req.URL, got, want)
						}
					}
				}
			}
		})
	}
	for name, ln := range map[string]*caddytest.CountingListener{"upstream": upstream, "proxy": proxy} {
		if n := ln.Accepted(); n > 0 {
			t.Errorf("%d direct connections to the %s", n, name)
		}
	}
}

// clientCert returns the paths of a key and its certificate.
func clientCert(t *testing.T, ca *sshtest.CA) (keyFile, certFile string) {
	t.Helper()
	certPEM, keyPEM := sshtest.EncodePEM(ca.Issue("client.test"))
	return sshtest.WriteFile(t, "key.pem", keyPEM), sshtest.WriteFile(t, "cert.pem", certPEM)
}
