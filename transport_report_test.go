package sshtunnel

// transport_report_test.go tests what placeholders and the access log say of a
// request's way through the tunnel.

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestPassage: through which tunnel and bastion a request went, and how long the
// dial took, is known to it and in the access log.
func TestPassage(t *testing.T) {
	ca := sshtest.NewCA()
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	secure := sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{ca.Issue("secure.internal")}}})
	b, tun := newTunnel(t, "prod", hosts{"web.internal:80": web.Addr(), "secure.internal:443": secure.Addr()})
	log := filepath.Join(t.TempDir(), "access.log")
	const header = `header X-Tunnel "{http.reverse_proxy.ssh_tunnel.name} {http.reverse_proxy.ssh_tunnel.host} {http.reverse_proxy.ssh_tunnel.dial_duration_ms}"` + "\n"
	address := serve(t, tun(b.Addr()), "", "log {\noutput file "+log+"\n}\n"+
		"header >X-Tunnel \"{http.reverse_proxy.ssh_tunnel.name} {http.reverse_proxy.ssh_tunnel.host} {http.reverse_proxy.ssh_tunnel.dial_duration_ms}\"\n"+
		"handle_path /plain/* {\nreverse_proxy web.internal:80 {\ntransport ssh_tunnel prod {\nread_timeout 1m\n}\n}\n}\n"+
		"handle_path /secure/* {\nreverse_proxy https://secure.internal {\ntransport ssh_tunnel prod {\ntls_trust_pool file "+sshtest.WriteFile(t, "ca.pem", ca.PEM())+"\n}\n}\n}\n"+
		"handle /nowhere {\nreverse_proxy nowhere.internal:80 {\ntransport ssh_tunnel prod\n}\n}\n"+
		"handle_errors {\n"+header+"respond \"{err.status_code}\"\n}\n")

	for _, path := range []string{"/plain/hello", "/secure/hello"} {
		for i := range 2 {
			res := fetch(t, "GET", "http://"+address+path, "")
			fields := strings.Fields(res.header.Get("X-Tunnel"))
			if res.status != http.StatusOK || len(fields) != 3 || fields[0] != "prod" || fields[1] != b.Addr() || (fields[2] == "0") != (i == 1) {
				t.Errorf("%s, request %d: %d %q", path, i, res.status, fields)
			}
		}
	}
	res := fetch(t, "GET", "http://"+address+"/nowhere", "")
	if fields := strings.Fields(res.header.Get("X-Tunnel")); res.status != http.StatusBadGateway || len(fields) != 1 || fields[0] != "prod" {
		t.Errorf("not sent: %d %q", res.status, fields)
	}

	type entry struct {
		Request struct {
			URI string `json:"uri"`
		} `json:"request"`
		Tunnel *struct {
			Name         string   `json:"name"`
			Host         string   `json:"host"`
			DialDuration *float64 `json:"dial_duration"`
		} `json:"ssh_tunnel"`
	}
	var entries []entry
	sshtest.Eventually(t, 10*time.Second, "five lines of the access log", func() bool {
		data, _ := os.ReadFile(log)
		entries = nil
		for line := range strings.Lines(string(data)) {
			var e entry
			if json.Unmarshal([]byte(line), &e) == nil {
				entries = append(entries, e)
			}
		}
		return len(entries) == 5
	})
	for i, e := range entries {
		sent := i < 4
		if e.Tunnel == nil || e.Tunnel.Name != "prod" || (e.Tunnel.Host == b.Addr()) != sent || (e.Tunnel.DialDuration != nil) != sent {
			t.Errorf("%s: the access log has %+v", e.Request.URI, e.Tunnel)
		} else if sent && (*e.Tunnel.DialDuration > 0) != (i%2 == 0) {
			t.Errorf("%s, request %d: the dial took %g", e.Request.URI, i%2, *e.Tunnel.DialDuration)
		}
	}
}
