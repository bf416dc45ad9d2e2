package sshtunnel

// metrics_test.go tests the metrics that Caddy serves, through reloads, and the
// dashboard that shows them.

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// scrape returns the samples that a site serves as metrics, by name and labels.
func scrape(t *testing.T, url string) map[string]float64 {
	t.Helper()
	// A connection of before a reload would be closed by that.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var res *http.Response
	// Caddy drops what comes in the moment of a reload.
	sshtest.Eventually(t, 10*time.Second, url+" is served", func() bool {
		var err error
		res, err = client.Get(url)
		return err == nil
	})
	defer res.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	samples := make(map[string]float64)
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "caddy_ssh_tunnel_") {
			continue
		}
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(labels)
			key := family.GetName() + "{" + strings.Join(labels, ",") + "}"
			if _, twice := samples[key]; twice {
				t.Errorf("%s is there twice", key)
			}
			switch {
			case m.Counter != nil:
				samples[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				samples[key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				samples[key] = float64(m.Histogram.GetSampleCount())
			}
		}
	}
	return samples
}

// wantServed has a request answered. Caddy's servers drop a connection that comes
// in the moment of a reload: such a request has not reached the tunnel.
func wantServed(t *testing.T, url string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	sshtest.Eventually(t, 10*time.Second, url+" is served", func() bool {
		res, err := client.Get(url)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("%s: got %s", url, res.Status)
		}
		return true
	})
}

// TestMetricsThroughReloads: reloads, also such that fail and such that change
// where a tunnel connects, lose no metric and double none.
func TestMetricsThroughReloads(t *testing.T) {
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	b, tun := newTunnel(t, "metered", hosts{"web.internal:80": web.Addr()})
	link := sshtest.NewLink(t, b.Addr())
	const site = "handle /metrics {\nmetrics\n}\nhandle {\nreverse_proxy web.internal:80 {\ntransport ssh_tunnel metered {\nkeepalive off\n}\n}\n}"
	address := serve(t, tun(b.Addr()), "", site)
	metrics := "http://" + address + "/metrics"

	before := scrape(t, metrics)
	opened := "caddy_ssh_tunnel_channel_opens_total{result=opened,tunnel=metered}"
	for i := range 100 {
		to := b.Addr()
		if i >= 90 && i%2 == 1 {
			to = link.Addr() // another entry
		}
		if i%10 == 5 {
			if err := reload(address, tun(to)+"tunnel broken user@127.0.0.1 {\nidentity_file /nonexistent/nowhere none\n}\n", "", site+"\nreverse_proxy x:1 {\ntransport ssh_tunnel nosuch\n}"); err == nil {
				t.Fatal("a configuration that cannot be loaded was")
			}
		} else if err := reload(address, tun(to), "", site); err != nil {
			t.Fatal(err)
		}
		wantServed(t, "http://"+address+"/headers")
		after := scrape(t, metrics)
		for key, was := range before {
			if !strings.Contains(key, "tunnel=metered") {
				continue // of an earlier test, which is about to go
			}
			now, ok := after[key]
			counts := strings.Contains(key, "_total{") || strings.Contains(key, "_seconds{")
			if !ok && !strings.Contains(key, "class=") || counts && !strings.Contains(key, "expiry") && now < was {
				t.Errorf("reload %d: %s was %g, is %g (%t)", i, key, was, now, ok)
			}
		}
		if got := after[opened] - before[opened]; got != 1 {
			t.Errorf("reload %d: %g opens, want 1", i, got)
		}
		before = after
	}
	if got := before["caddy_ssh_tunnel_up{tunnel=metered}"]; got != 1 {
		t.Errorf("up is %g", got)
	}
	if got := before["caddy_ssh_tunnel_reconnects_total{reason=lost,tunnel=metered}"]; got != 0 {
		t.Errorf("%g reconnects", got)
	}
	if got := before["caddy_ssh_tunnel_bytes_total{direction=received,tunnel=metered}"]; got < 100*100 {
		t.Errorf("%g bytes received", got)
	}

	b.Kick()
	sshtest.Eventually(t, 10*time.Second, "a reconnect is counted", func() bool {
		return scrape(t, metrics)["caddy_ssh_tunnel_reconnects_total{reason=lost,tunnel=metered}"] == 1
	})
	if problems, err := testutil.CollectAndLint(tunnel.Metrics); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	wantDashboard(t, gatherLabels(t))
}

// gatherLabels returns the labels of each metric that there is.
func gatherLabels(t *testing.T) map[string][]string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(tunnel.Metrics)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{
		// There is none of these without a certificate, a remote forward or a failure.
		"caddy_ssh_tunnel_connect_failures_total":               {"tunnel", "cause"},
		"caddy_ssh_tunnel_certificate_expiry_timestamp_seconds": {"tunnel"},
		"caddy_ssh_tunnel_remote_forward_up":                    {"tunnel", "listen"},
	}
	for _, family := range families {
		var names []string
		for _, l := range family.Metric[0].Label {
			names = append(names, l.GetName())
		}
		if family.Metric[0].Histogram != nil {
			names = append(names, "le")
		}
		labels[family.GetName()] = names
	}
	return labels
}

// wantDashboard checks that the dashboard and the manual have all metrics, and no
// others.
func wantDashboard(t *testing.T, labels map[string][]string) {
	t.Helper()
	data, err := os.ReadFile("grafana/caddy-ssh-tunnel.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			name := strings.TrimSuffix(regexp.MustCompile(`caddy_ssh_tunnel_\w+`).FindString(target.Expr), "_bucket")
			known, ok := labels[name]
			if !ok {
				t.Errorf("panel %q shows %q, which there is not", panel.Title, name)
			}
			shown[name] = true
			used := regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1)
			used = append(used, regexp.MustCompile(`(\w+)=~`).FindAllStringSubmatch(target.Expr, -1)...)
			for _, m := range used {
				if m[1] != "instance" && !slices.Contains(known, m[1]) {
					t.Errorf("panel %q has the label %q, which %s has not: %q", panel.Title, m[1], name, known)
				}
			}
		}
	}
	for name := range labels {
		if !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	documented := make(map[string]string)
	for _, r := range metricNames.rows(t) {
		if name := code(r.cells[0]); strings.HasPrefix(name, "caddy_ssh_tunnel_") {
			documented[name] = strings.Join(codes(r.cells[1]), " ")
		}
	}
	for name, want := range labels {
		got := strings.Fields(documented[name])
		want := slices.DeleteFunc(slices.Clone(want), func(l string) bool { return l == "le" || l == "tunnel" })
		if _, ok := documented[name]; !ok {
			t.Errorf("%s does not have %s", metricNames.page, name)
		} else if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s: %s has the labels %q, want %q", metricNames.page, name, got, want)
		}
	}
	for name := range maps.Keys(documented) {
		if _, ok := labels[name]; !ok {
			t.Errorf("%s has the metric %q, which does not exist", metricNames.page, name)
		}
	}
	var got, want []string
	for _, r := range causes.rows(t) {
		got = append(got, code(r.cells[0]))
	}
	for _, cause := range failure.Causes {
		want = append(want, string(cause))
	}
	sameNames(t, "causes", got, want)
}
