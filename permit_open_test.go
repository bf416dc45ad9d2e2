package sshtunnel

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/net/proxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestPermitOpen has Caddy between clients who choose their targets and a
// bastion that would reach them all.
func TestPermitOpen(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{Name: "web"})
	secret := sshtest.NewWeb(t, sshtest.WebOptions{Name: "secret"})
	echo := namedEcho(t, "echo")
	var mu sync.Mutex
	var asked []string // what the bastion was
	key := sshtest.NewKey()
	b := sshtest.NewBastion(t, sshtest.BastionOptions{
		AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			asked = append(asked, address)
			mu.Unlock()
			return hosts{
				"web.test:80": web.Addr(), "10.0.0.5:80": web.Addr(), "echo.test:7": echo.Addr().String(),
				"secret.test:80": secret.Addr(), "127.0.0.1:80": secret.Addr(), "127.1:80": secret.Addr(),
			}.dial(ctx, network, address)
		},
	})
	file := sshtest.WriteFile(t, "key", key.PEM(""))
	socks := freeAddress(t)
	tunnels := fmt.Sprintf("tunnel prod user@%s {\nidentity_file %s\nhost_key %s\nconnections 1\npermit_open web.test:80 10.0.0.0/8:80\npermit_open echo.test:7\ndynamic_forward %s\n}\n",
		b.Addr(), file, b.HostKeyFingerprint(), socks)
	address := serve(t, tunnels, "", `
handle /dynamic/* {
	uri strip_prefix /dynamic
	reverse_proxy {
		dynamic a {header.To} 80
		transport ssh_tunnel prod
	}
}
handle {
	reverse_proxy {header.To}:80 {
		transport ssh_tunnel prod
	}
}
`)
	ask := func(path, to string) int {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("To", to)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for to, want := range map[string]int{
		"web.test": 200, "WEB.test.": 200, "10.0.0.5": 200, "10.5": 200, "0xa000005": 200, "[::ffff:10.0.0.5]": 200,
		"secret.test": 403, "127.0.0.1": 403, "127.1": 403, "2130706433": 403, "[::1]": 403, "echo.test": 403, "web.test.evil": 403,
	} {
		if got := ask("/hello", to); got != want {
			t.Errorf("%s: status %d, want %d", to, got, want)
		}
	}
	if got := ask("/dynamic/hello", "127.0.0.1"); got != 403 {
		t.Errorf("a dynamic upstream: status %d", got)
	}
	if got := ask("/dynamic/hello", "10.0.0.5"); got != 200 {
		t.Errorf("a dynamic upstream: status %d", got)
	}

	d, err := proxy.SOCKS5("tcp", socks, nil, proxy.Direct)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := d.Dial("tcp", "ECHO.test:7")
	if err != nil {
		t.Fatal(err)
	}
	greeted(t, conn, "echo")
	_ = conn.Close()
	for _, to := range []string{"secret.test:80", "127.0.0.1:80", "127.1:80", "web.test:81", "[::ffff:127.0.0.1]:80"} {
		if _, err := d.Dial("tcp", to); err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: got error %v", to, err)
		}
	}

	mu.Lock()
	defer mu.Unlock()
	slices.Sort(asked)
	if got, want := slices.Compact(asked), []string{"10.0.0.5:80", "echo.test:7", "web.test:80"}; !slices.Equal(got, want) {
		t.Errorf("the bastion was asked for %q, want %q", got, want)
	}
	if secret.Accepted() != 0 {
		t.Error("what is not permitted was reached")
	}
}
