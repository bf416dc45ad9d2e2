package sshtunnel

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// lazyTunnel returns a tunnel that nobody uses.
func lazyTunnel(t *testing.T, name string) string {
	return fmt.Sprintf("tunnel %s u@%s {\nidentity_file %s\nhost_key %s\nlazy\n}\n",
		name, freeAddress(t), sshtest.WriteFile(t, "id", sshtest.NewKey().PEM("")), caddytest.Fingerprint)
}

// TestReadyHandler asks as a kubelet does, while tunnels are up, down and not in use. The
// verdict is that of the admin API.
func TestReadyHandler(t *testing.T) {
	up, upTunnel := newTunnel(t, "up", hosts{})
	flaky, flakyTunnel := newTunnel(t, "flaky", hosts{})
	link := sshtest.NewLink(t, flaky.Addr())
	address := "http://" + serve(t, upTunnel(up.Addr())+flakyTunnel(link.Addr())+lazyTunnel(t, "asleep"), "", `
		ssh_tunnel_ready /ready
		ssh_tunnel_ready /up up asleep
		ssh_tunnel_ready /flaky up flaky
		respond "no probe"
	`)
	want := func(path string, status int, body string) {
		t.Helper()
		got := fetch(t, "GET", address+path, "")
		if got.status != status || got.body != body {
			t.Errorf("%s: got %d %q, want %d %q", path, got.status, got.body, status, body)
		}
	}
	agree := func() bool {
		t.Helper()
		code := callAdmin("GET", adminapi.Path+"ready").Code
		return fetch(t, "GET", address+"/ready", "").status == code
	}
	sshtest.Eventually(t, 20*time.Second, "ready", func() bool { return fetch(t, "GET", address+"/ready", "").status == 200 })
	if !agree() {
		t.Error("the admin API's verdict differs")
	}
	want("/ready", 200, "ready\n")
	want("/up", 200, "ready\n")
	want("/flaky", 200, "ready\n")

	link.Refuse()
	link.Reset()
	sshtest.Eventually(t, 20*time.Second, "down", func() bool { return fetch(t, "GET", address+"/ready", "").status == 503 })
	sshtest.Eventually(t, 20*time.Second, "the same verdict", agree)
	want("/ready", 503, "flaky\n")
	want("/up", 200, "ready\n")
	want("/flaky", 503, "flaky\n")

	if got := fetch(t, "HEAD", address+"/ready", ""); got.status != 503 || got.body != "" {
		t.Errorf("HEAD: got %d %q", got.status, got.body)
	}
	got := fetch(t, "POST", address+"/ready", "")
	if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d %v", got.status, got.header)
	}
	got = fetch(t, "GET", address+"/ready", "")
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff",
	} {
		if value := got.header.Get(name); value != want {
			t.Errorf("%s: got %q, want %q", name, value, want)
		}
	}

	link.Accept()
	sshtest.Eventually(t, 20*time.Second, "ready again", func() bool { return fetch(t, "GET", address+"/ready", "").status == 200 })
}

// TestReadyNames: hosts that an ssh_config file jumps through are not shown.
func TestReadyNames(t *testing.T) {
	got := withoutHosts([]string{"prod", "ssh_config b1.example.com", "ssh_config b2.example.com"})
	if fmt.Sprint(got) != "[prod ssh_config]" {
		t.Errorf("got %q", got)
	}
}

// TestNotReadyBeforeStart: a site may serve before the app has started. A tunnel that
// should be up is then connecting, and not idle.
func TestNotReadyBeforeStart(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", hosts{})
	config, err := caddytest.Adapt("{\nadmin off\nssh_tunnel {\n" + tunnel(b.Addr()) + lazyTunnel(t, "asleep") + "}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.App("ssh_tunnel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = app.(*App).Cleanup() })
	tunnels := statusOf(app.(*App).distinct())
	verdict := adminapi.ReadinessOf(tunnels)
	if fmt.Sprint(verdict.Names()) != "[prod]" || tunnels[1].State != report.StateConnecting {
		t.Errorf("not ready are %v of %+v", verdict.Names(), tunnels)
	}
}

// TestStatusPage: basic_auth protects the page, also if it is written after it. The JSON
// is that of the admin API.
func TestStatusPage(t *testing.T) {
	b, tunnel := newTunnel(t, "prod", hosts{})
	hash, err := bcrypt.GenerateFromPassword([]byte("hunter2"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, tunnel(b.Addr()), "", fmt.Sprintf("ssh_tunnel_status /tunnels\nbasic_auth /tunnels {\noperator %s\n}\nrespond hello", hash))
	sshtest.Eventually(t, 20*time.Second, "ready", func() bool { return callAdmin("GET", adminapi.Path+"ready").Code == 200 })

	wantStatus(t, "http://"+address+"/tunnels", http.StatusUnauthorized)
	page := fetch(t, "GET", "http://operator:hunter2@"+address+"/tunnels", "")
	if page.status != 200 || !strings.Contains(page.body, ">prod</h2>") || !strings.Contains(page.body, b.Addr()) || page.header.Get("Content-Security-Policy") == "" {
		t.Errorf("got %d %v %s", page.status, page.header, page.body)
	}

	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://operator:hunter2@"+address+"/tunnels", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var here, admin []adminapi.Status
	if err := json.Unmarshal([]byte(readAnswer(t, res).body), &here); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(callAdmin("GET", adminapi.Path+"tunnels").Body.Bytes(), &admin); err != nil {
		t.Fatal(err)
	}
	if len(here) != 1 || len(admin) != 1 || here[0].Tunnel != admin[0].Tunnel || here[0].Connections[0].HostKey != b.HostKeyFingerprint() {
		t.Errorf("got %+v, and from the admin API %+v", here, admin)
	}
}
