package sshtunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// adminMux serves the API as Caddy does.
func adminMux() http.Handler {
	mux := http.NewServeMux()
	for _, route := range (adminAPI{}).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handler.ServeHTTP(w, r); err != nil {
				refused, ok := errors.AsType[caddy.APIError](err)
				if !ok {
					refused.HTTPStatus = http.StatusInternalServerError
				}
				http.Error(w, err.Error(), refused.HTTPStatus)
			}
		})
	}
	return mux
}

// callAdmin makes a request of the API.
func callAdmin(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	adminMux().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

// adminTunnel returns a tunnel's status.
func adminTunnel(t *testing.T, path string) (s adminapi.Status) {
	t.Helper()
	w := callAdmin("GET", adminapi.Path+"tunnels/"+path)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: got %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAdminWithoutConfiguration: there may be none, or one without the app.
func TestAdminWithoutConfiguration(t *testing.T) {
	check := func(path string, wantStatus int, want string) {
		t.Helper()
		if w := callAdmin("GET", "/ssh_tunnel/"+path); w.Code != wantStatus || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: got %d %s", path, w.Code, w.Body)
		}
	}
	const nothing = "no configuration is running; Caddy is still starting, or has none"
	check("tunnels", 503, nothing)
	check("tunnels/prod", 503, nothing)
	check("ready", 503, `{"ready":false,"not_ready":[],"error":"`+nothing+`"}`)
	if err := caddy.Load([]byte(`{"admin": {"disabled": true, "config": {"persist": false}}}`), true); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	check("tunnels", 200, "[]")
	check("tunnels/prod", 404, "no tunnel is configured")
	check("ready", 200, `{"ready":true,"not_ready":[]}`)
}

// TestAdminRefuses: other methods, and other paths.
func TestAdminRefuses(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"POST", "tunnels", 405, "GET, HEAD"},
		{"DELETE", "tunnels/prod", 405, "GET, HEAD"},
		{"GET", "tunnels/prod/reconnect", 405, "POST"},
		{"PUT", "ready", 405, "GET, HEAD"},
		{"GET", "", 404, ""},
		{"GET", "tunnels/", 404, ""},
		{"GET", "tunnels/prod/else", 404, ""},
		{"POST", "tunnels/prod/reconnect", 503, ""},
	} {
		w := callAdmin(c.method, adminapi.Path+c.path)
		if w.Code != c.status || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: got %d, Allow %q: %s", c.method, c.path, w.Code, w.Header().Get("Allow"), w.Body)
		}
	}
}

// TestAdminTunnels compares the answers with what is.
func TestAdminTunnels(t *testing.T) {
	b, config := newTunnel(t, "prod", hosts{"web:80": "127.0.0.1:1"})
	local, dynamic := freeAddress(t), freeAddress(t)
	tunnels := config(b.Addr())
	tunnels = strings.TrimSuffix(tunnels, "}\n") + fmt.Sprintf("local_forward %s web:80\ndynamic_forward %s\nserver_alive_interval 10m\n}\n", local, dynamic)
	sleeper := sshtest.WriteFile(t, "id", sshtest.NewKey().PEM(""))
	tunnels += fmt.Sprintf("tunnel sleeper u@%s {\nidentity_file %s\nhost_key %s\nlazy\n}\n", freeAddress(t), sleeper, b.HostKeyFingerprint())
	serve(t, tunnels, "", "respond hello")

	sshtest.Eventually(t, 20*time.Second, "ready", func() bool { return callAdmin("GET", "/ssh_tunnel/ready").Code == 200 })
	s := adminTunnel(t, "prod")
	if s.State != report.StateUp || s.Host != b.Addr() || s.User != "user" || len(s.Connections) != 1 || s.Connections[0].HostKey != b.HostKeyFingerprint() || s.Connections[0].HostKeySource == "" {
		t.Errorf("got %+v", s)
	}
	want := []adminapi.Forward{
		{Kind: "local_forward", Listen: local, Target: "web:80", State: remote.Listening},
		{Kind: "dynamic_forward", Listen: dynamic, State: remote.Listening},
	}
	if fmt.Sprint(s.Forwards) != fmt.Sprint(want) {
		t.Errorf("forwards: got %+v, want %+v", s.Forwards, want)
	}
	if s := adminTunnel(t, "sleeper"); s.State != report.StateIdle || !s.Lazy || s.Since.IsZero() {
		t.Errorf("a lazy tunnel: got %+v", s)
	}
	if w := callAdmin("GET", "/ssh_tunnel/tunnels/prdo"); w.Code != 404 || !strings.Contains(w.Body.String(), `unknown tunnel "prdo"; configured: prod, sleeper`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	sshtest.Eventually(t, 20*time.Second, "a round-trip time", func() bool { return adminTunnel(t, "prod").RTT > 0 })

	// Connections of a forward are counted.
	conn, err := net.Dial("tcp", dynamic)
	if err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 20*time.Second, "a connection", func() bool { return adminTunnel(t, "prod").Forwards[1].Connections == 1 })
	_ = conn.Close()
	sshtest.Eventually(t, 20*time.Second, "its end", func() bool { return adminTunnel(t, "prod").Forwards[1].Connections == 0 })

	// Reconnecting makes another connection.
	w := callAdmin("POST", "/ssh_tunnel/tunnels/prod/reconnect")
	if w.Code != 202 || !strings.Contains(w.Body.String(), `"tunnel":"prod"`) {
		t.Errorf("reconnect: got %d %s", w.Code, w.Body)
	}
	before := s.Connections[0].Since
	sshtest.Eventually(t, 20*time.Second, "another connection", func() bool {
		now := adminTunnel(t, "prod").Connections
		return len(now) == 1 && now[0].Since.After(before)
	})
}

// TestAdminSharesHops: tunnels that ssh_config jumps through are listed, once, and
// found by their names, which have spaces.
func TestAdminSharesHops(t *testing.T) {
	key, hostKey := sshtest.NewKey(), sshtest.NewKey()
	signer, err := ssh.NewSignerFromSigner(hostKey.Private())
	if err != nil {
		t.Fatal(err)
	}
	b := sshtest.NewBastion(t, sshtest.BastionOptions{
		HostKeys: []ssh.Signer{signer}, AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}, Dial: new(net.Dialer).DialContext,
	})
	host, port, _ := net.SplitHostPort(b.Addr())
	known := sshtest.WriteFile(t, "known_hosts", []byte(sshtest.KnownHostsLine(b.Addr(), hostKey.PublicKey())+"\n"))
	file := sshtest.WriteFile(t, "ssh_config", fmt.Appendf(nil,
		"Host jump a b\nHostName %s\nPort %s\nUser user\nIdentityFile %s\nIdentitiesOnly yes\nUserKnownHostsFile %s\nHost a b\nProxyJump jump\n",
		host, port, sshtest.WriteFile(t, "key", key.PEM("")), known))
	serve(t, fmt.Sprintf("tunnel asleep {\nssh_config a %[1]s\nlazy\n}\ntunnel eager {\nssh_config b %[1]s\n}\n", file), "", "respond hello")

	const hop = "ssh_config jump"
	var all []adminapi.Status
	if err := json.Unmarshal(callAdmin("GET", "/ssh_tunnel/tunnels").Body.Bytes(), &all); err != nil {
		t.Fatal(err)
	}
	var names []string
	for i := range all {
		names = append(names, all[i].Tunnel)
	}
	if got := fmt.Sprint(names); got != "[asleep eager "+hop+"]" {
		t.Fatalf("listed are %s", got)
	}
	if all[0].ProxyJump != hop || all[2].Lazy {
		t.Errorf("got %+v", all)
	}
	sshtest.Eventually(t, 20*time.Second, "the jump is up", func() bool { return adminTunnel(t, "ssh_config%20jump").State == report.StateUp })
}
