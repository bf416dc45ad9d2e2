package sshtunnel

// caddy_harness_test.go runs Caddy in front of SSH bastions.

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// hosts are what a bastion resolves: addresses as a client gives them, and
// where they lead.
type hosts map[string]string

// dial is a bastion's. What is not among the hosts is refused.
func (h hosts) dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, ok := h[address]
	if !ok {
		return nil, &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Connection refused"}
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// newTunnel starts a bastion and returns it with the Caddyfile of a tunnel to
// it, or to a relay before it.
func newTunnel(t *testing.T, name string, h hosts) (*sshtest.Bastion, func(address string) string) {
	t.Helper()
	key := sshtest.NewKey()
	b := sshtest.NewBastion(t, sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, Dial: h.dial})
	file := sshtest.WriteFile(t, "key", key.PEM(""))
	return b, func(address string) string {
		return fmt.Sprintf("tunnel %s user@%s {\nidentity_file %s\nhost_key %s\nreconnect_delay 50ms 200ms\n}\n",
			name, address, file, b.HostKeyFingerprint())
	}
}

// serve runs Caddy with tunnels and with what one server does. It returns the
// server's address.
func serve(t *testing.T, tunnels, options, server string) string {
	t.Helper()
	address := freeAddress(t)
	if err := reload(address, tunnels, options, server); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return address
}

// reload has a Caddy run with another configuration than before, if there was
// one. It returns why it cannot.
func reload(address, tunnels, options, server string) error {
	config, err := caddytest.Adapt(fmt.Sprintf("{\nadmin off\npersist_config off\nauto_https off\nlog {\noutput discard\n}\nssh_tunnel {\n%s}\n%s\n}\nhttp://%s {\nbind 127.0.0.1\n%s\n}\n",
		tunnels, options, address, server))
	if err != nil {
		return err
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		return err
	}
	return caddy.Run(&cfg)
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(sshtest.NewPort(t)))
}

// answer is a response that has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

func fetch(t *testing.T, method, url, body string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, res)
}

func readAnswer(t *testing.T, res *http.Response) answer {
	t.Helper()
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(got)}
}

func wantStatus(t *testing.T, url string, want int) {
	t.Helper()
	if got := fetch(t, "GET", url, ""); got.status != want {
		t.Errorf("%s: got %d %q, want %d", url, got.status, got.body, want)
	}
}
