package sshtunnel

// network_test.go has Caddy serve from a bastion's addresses.

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/bind"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestParseBind(t *testing.T) {
	for _, test := range []struct {
		where string
		want  string // network and address, or a part of the error
	}{
		{"", "tcp localhost:8080"},
		{"localhost", "tcp localhost:8080"},
		{"0.0.0.0", "tcp 0.0.0.0:8080"},
		{"::", "tcp [::]:8080"},
		{"::1", "tcp [::1]:8080"},
		{"*", "tcp *:8080"},
		{"unix//run/site.sock", "unix /run/site.sock"},
		{"unix/site.sock", `listen address "unix/site.sock": not an absolute path on the bastion; write unix//path`},
		{"unix//run/site.sock|0220", `socket "/run/site.sock|0220": the bastion sets its permissions; remove the | and set StreamLocalBindMask there`},
		{"udp/0.0.0.0", `"udp/0.0.0.0" is neither an address of the bastion nor unix//path`},
	} {
		a, err := hostport.ParseBind(test.where, 8080)
		got := a.Network + " " + a.Address
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%q: got %s, want %s", test.where, got, test.want)
		}
	}
	if _, err := hostport.ParseBind("", 0); err == nil {
		t.Error("port 0 is taken")
	}
	for in, want := range map[string]uint{"80": 82, "8080-8089": 8082} {
		if got, err := portAt(in, 2); got != want || err != nil {
			t.Errorf("port 2 of %s is %d, %v", in, got, err)
		}
	}
}

// startBind runs Caddy with the tunnel prod, more global options and sites.
func startBind(t *testing.T, tunnels, global, sites string) {
	t.Helper()
	loadBind(t, tunnels, global, sites)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// loadBind has a running Caddy take another configuration.
func loadBind(t *testing.T, tunnels, global, sites string) {
	t.Helper()
	if err := caddy.Load(bindConfig(t, tunnels, global, sites), true); err != nil {
		t.Fatal(err)
	}
}

func bindConfig(t *testing.T, tunnels, global, sites string) []byte {
	t.Helper()
	config, err := caddytest.Adapt(fmt.Sprintf("{\npersist_config off\nskip_install_trust\nlog {\noutput discard\n}\nssh_tunnel {\n%s}\n%s\n}\n%s", tunnels, global, sites))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// freePortText returns a port that nobody listens on.
func freePortText(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(sshtest.NewPort(t))
}

// visitSite requests a page over a new connection and returns what comes, or why
// nothing does.
func visitSite(t *testing.T, dial func(context.Context) (net.Conn, error), url string) answer {
	t.Helper()
	client := &http.Client{
		Transport: &http.Transport{
			DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // whose certificate it is does not matter here
			ForceAttemptHTTP2: true,
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       sshtest.Patience,
	}
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	if err != nil {
		return answer{body: err.Error()}
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, response.Proto + " " + string(body)}
}

// to returns a dial function for visitSite.
func to(network, address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, address) }
}

// wantVisit fails the test unless a page comes soon, and returns it.
func wantVisit(t *testing.T, dial func(context.Context) (net.Conn, error), url string, status int) (a answer) {
	t.Helper()
	sshtest.Eventually(t, 10*time.Second, url+" answers", func() bool {
		a = visitSite(t, dial, url)
		return a.status != 0
	})
	if a.status != status {
		t.Fatalf("%s: got %d %s, want %d", url, a.status, a.body, status)
	}
	return a
}

// TestBind serves from ports and a socket of the bastion: plainly, and with the
// certificates and redirects of automatic HTTPS. A socket has both in one place,
// and no port to tell them apart.
func TestBind(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	httpPort, httpsPort, other := freePortText(t), freePortText(t), freePortText(t)
	socket := filepath.Join(t.TempDir(), "s")
	const who = "respond \"{http.request.remote.host} {http.request.local.host} {http.request.local.port} {http.request.scheme}\"\n"
	startBind(t, tunnel(b.Addr()), fmt.Sprintf("admin off\nlocal_certs\nhttp_port %s\nhttps_port %s", httpPort, httpsPort),
		fmt.Sprintf("http://:%s {\nbind ssh_tunnel/prod\n%s}\nsite.example.com {\nbind ssh_tunnel/prod ssh_tunnel/prod/unix/%s\n%s}\n", other, who, socket, who))

	local := func(port string) string { return "127.0.0.1:" + port }
	a := wantVisit(t, to("tcp", local(other)), "http://any", http.StatusOK)
	if want := "HTTP/1.1 127.0.0.1 127.0.0.1 " + other + " http"; a.body != want {
		t.Errorf("got %q, want %q", a.body, want)
	}

	a = wantVisit(t, to("tcp", local(httpsPort)), "https://site.example.com", http.StatusOK)
	if want := "HTTP/2.0 127.0.0.1 127.0.0.1 " + httpsPort + " https"; a.body != want {
		t.Errorf("over TLS: got %q, want %q", a.body, want)
	}
	if got := a.header.Values("Alt-Svc"); len(got) > 0 {
		t.Errorf("HTTP/3 is offered: %q", got)
	}
	a = wantVisit(t, to("tcp", local(httpPort)), "http://site.example.com", http.StatusPermanentRedirect)
	if got, want := a.header.Get("Location"), "https://site.example.com/"; got != want {
		t.Errorf("the redirect leads to %q, want %q", got, want)
	}

	for range 3 { // the redirects' listener would take them all
		a = wantVisit(t, to("unix", socket), "https://site.example.com", http.StatusOK)
		if !strings.HasSuffix(a.body, " https") {
			t.Errorf("over the socket: got %q", a.body)
		}
	}
}

// TestBindRefused starts what can never work.
func TestBindRefused(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	prod := tunnel(b.Addr())
	const site = "http://:8080 {\nbind %s\nrespond hello\n}\n"
	startBind(t, prod, "admin off", "")
	for name, test := range map[string]struct{ tunnels, global, sites, want string }{
		"unknown tunnel": {
			prod, "admin off", fmt.Sprintf(site, "ssh_tunnel/prdo"),
			`server "srv0": listening on ssh_tunnel/prdo:8080: unknown tunnel "prdo"; configured: prod`,
		},
		"no tunnel": {
			prod, "admin off", fmt.Sprintf(site, "ssh_tunnel/"),
			"no tunnel; write ssh_tunnel/<tunnel>, or ssh_tunnel/<tunnel>/<address of the bastion>",
		},
		"no address": {
			prod, "admin off", fmt.Sprintf(site, "ssh_tunnel/prod/what/ever"),
			`"what/ever" is neither an address of the bastion nor unix//path`,
		},
		"remote_forward": {
			strings.Replace(prod, "{", "{\nremote_forward 8080 localhost:80", 1), "admin off", fmt.Sprintf(site, "ssh_tunnel/prod"),
			`"localhost:8080" is already in use by a remote_forward of tunnel "prod"`,
		},
		"twice": {
			prod, "admin off", fmt.Sprintf(site, "ssh_tunnel/prod ssh_tunnel/prod/localhost"),
			`"localhost:8080" is already in use by another site of tunnel "prod"`,
		},
		"twice a socket": {
			prod, "admin off", fmt.Sprintf(site, "ssh_tunnel/prod/unix//run/s") + strings.Replace(fmt.Sprintf(site, "ssh_tunnel/prod/unix//run/s"), "8080", "8081", 1),
			`"unix//run/s" is already in use by another site of tunnel "prod"`,
		},
		"admin endpoint": {
			prod, "admin ssh_tunnel/prod:2019", "",
			"the admin endpoint cannot be on a bastion, where whoever connects could change the configuration; give it an address of this machine",
		},
		"HTTP/3's network": {
			prod, "admin off", fmt.Sprintf(site, "ssh_tunnel_no_http3/prod"),
			"cannot handle HTTP/1 or HTTP/2 connections",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := bindConfig(t, test.tunnels, test.global, test.sites)
			if err := caddy.Load(config, true); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
	// The remote admin endpoint has a context, and is no module.
	_, err := caddy.NetworkAddress{Network: bind.Network, Host: "prod", StartPort: 2021, EndPort: 2021}.Listen(caddy.ActiveContext(), 0, net.ListenConfig{})
	if err == nil || !strings.Contains(err.Error(), "the admin endpoint cannot be on a bastion") {
		t.Errorf("the remote admin endpoint: %v", err)
	}
	// net/http closes the listener of a server that is shut down before it serves
	// in a goroutine of its own.
	sshtest.Eventually(t, 10*time.Second, "nothing is bound any more", func() bool {
		return len(bind.Open()) == 0
	})
}

// TestBindReload has one configuration follow another. What comes once the new
// one listens is its own, and the bastion is not asked anew.
func TestBindReload(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	port := freePortText(t)
	site := func(n int) string {
		return fmt.Sprintf("http://:%s {\nbind ssh_tunnel/prod\nrespond %d\n}\n", port, n)
	}
	startBind(t, tunnel(b.Addr()), "admin off", site(0))
	dial := to("tcp", "127.0.0.1:"+port)
	wantVisit(t, dial, "http://any", http.StatusOK)
	for n := 1; n <= 10; n++ {
		loadBind(t, tunnel(b.Addr()), "admin off", site(n))
		if got, want := visitSite(t, dial, "http://any").body, fmt.Sprintf("HTTP/1.1 %d", n); got != want {
			t.Fatalf("after reload %d: got %q, want %q", n, got, want)
		}
		bad := bindConfig(t, tunnel(b.Addr()), "admin off", site(100)+"http://192.0.2.1:1 {\nbind 192.0.2.1\nrespond no\n}\n")
		if err := caddy.Load(bad, true); err == nil {
			t.Fatal("a configuration that cannot listen was loaded")
		}
		if got, want := visitSite(t, dial, "http://any").body, fmt.Sprintf("HTTP/1.1 %d", n); got != want {
			t.Fatalf("after a load that failed: got %q, want %q", got, want)
		}
	}
	if got := b.Stats().ForwardRequests; got != 1 {
		t.Errorf("the bastion was asked for the port %d times", got)
	}
	loadBind(t, tunnel(b.Addr()), "admin off", "")
	sshtest.Eventually(t, 10*time.Second, "the bastion listens no more", func() bool {
		return visitSite(t, dial, "http://any").status == 0
	})
}

// TestBindBurst makes more connections than anybody accepts. The tunnel goes on
// with everything else, and the listener with the first of them.
func TestBindBurst(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	b, tunnel := newTunnel(t, "prod", hosts{"web.internal:80": web.Addr()})
	upstream := serve(t, strings.Replace(tunnel(b.Addr()), "{", "{\nconnections 1", 1), "", "reverse_proxy web.internal:80 {\ntransport ssh_tunnel prod\n}")
	wantStatus(t, "http://"+upstream+"/hello", http.StatusOK)

	app, err := caddy.ActiveContext().AppIfConfigured("ssh_tunnel")
	if err != nil {
		t.Fatal(err)
	}
	address, err := caddy.ParseNetworkAddress("ssh_tunnel/prod:" + freePortText(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := address.Listen(app.(*App).ctx, 0, net.ListenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ln := listener.(net.Listener)
	defer ln.Close()

	const burst = 200
	var clients [burst]net.Conn
	for i := range clients {
		sshtest.Eventually(t, 10*time.Second, "the bastion listens", func() bool {
			clients[i], err = net.Dial("tcp", ln.Addr().String())
			return err == nil
		})
		defer clients[i].Close()
	}
	for range 20 {
		wantStatus(t, "http://"+upstream+"/hello", http.StatusOK)
	}
	for range 100 {
		conn, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	served := 0
	for _, client := range clients {
		_ = client.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if got, _ := io.ReadAll(io.LimitReader(client, 5)); string(got) == "hello" {
			served++
		}
	}
	if served != 100 {
		t.Errorf("%d clients were served, and 100 accepted", served)
	}
	wantStatus(t, "http://"+upstream+"/hello", http.StatusOK)
}

// TestBindChallenges has Caddy's adapter give issuers the network as the host to
// listen on for challenges. One that is said otherwise stays.
func TestBindChallenges(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", nil)
	sites := fmt.Sprintf("one.example.com:%s {\nbind ssh_tunnel/prod\ntls {\nissuer acme {\nalt_http_port 5002\n}\n}\n}\n"+
		"two.example.com:%s {\nbind 127.0.0.1\ntls {\nissuer acme\n}\n}\n", freePortText(t), freePortText(t))
	const global = "admin off\nauto_https off"
	if config := bindConfig(t, tunnel(b.Addr()), global, sites); !strings.Contains(string(config), `"bind_host":"ssh_tunnel/prod"`) {
		t.Fatalf("the adapter does not do so any more: %s", config)
	}
	startBind(t, tunnel(b.Addr()), global, sites)
	app, err := caddy.ActiveContext().AppIfConfigured("tls")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, policy := range app.(*caddytls.TLS).Automation.Policies {
		for _, issuer := range policy.Issuers {
			if c := issuer.(*caddytls.ACMEIssuer).Challenges; c != nil && len(policy.Subjects()) == 1 {
				ports := ""
				if c.HTTP != nil && c.TLSALPN != nil {
					ports = fmt.Sprintf(" %d %d", c.HTTP.AlternatePort, c.TLSALPN.AlternatePort)
				}
				got[policy.Subjects()[0]] = c.BindHost + ports
			}
		}
	}
	if want := map[string]string{"one.example.com": "127.0.0.1 5002 20443", "two.example.com": "127.0.0.1"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// FuzzParseAddress: listen addresses, targets and what a site is bound to are read
// again as the same from what they are called.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"8080", "127.0.0.1:80", "[::1]:80", "unix//run/s", "tcp/:80", "udp/:80", "*:80", "localhost:0", "prod/*:80", "unix//run/s|0600", "tcp//:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, at := range []hostport.Side{hostport.Here, hostport.Bastion} {
			a, err := hostport.ParseListen(s, at)
			if err != nil {
				continue
			}
			name := a.String()
			if strings.HasPrefix(name, ":") {
				name = "*" + name // all addresses; without the * it is the loopback's
			}
			if again, err := hostport.ParseListen(name, at); err != nil || again.String() != a.String() {
				t.Errorf("%q is %+v, read again %+v, %v", s, a, again, err)
			}
			if target, err := hostport.ParseTarget(s, at); err == nil && target.Address == "" {
				t.Errorf("target %q has no address", s)
			}
		}
		_, _ = hostport.ParseBind(s, 80)
	})
}
