package statuspage

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/html"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// fixed are tunnels that do not change.
type fixed []adminapi.Status

func (f *fixed) TunnelStatus() []adminapi.Status { return *f }

// fakeTunnels are tunnels of each kind: one that is up and draining, one down, one
// reconnecting, one idle.
func fakeTunnels(now time.Time) []adminapi.Status {
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	soon, expiry := now.Add(14*time.Second), now.Add(3*time.Hour+20*time.Minute)
	return []adminapi.Status{
		{
			Status: report.Status{
				Tunnel: "prod", State: report.StateUp, Since: ago(50 * time.Hour), User: "deploy",
				Hosts: []string{"b1.example.com:22", "b2.example.com:22"}, Host: "b2.example.com:22",
				RTT: 0.01234, Channels: 12, Received: 5 << 30, Sent: 123456, CertificateExpires: &expiry,
				Connections: []report.ConnectionStatus{
					{Class: report.ClassDraining, Host: "b1.example.com:22", Server: "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10", Since: ago(50 * time.Hour), Channels: 2, Received: 4 << 30},
					{Class: report.ClassRequests, Host: "b2.example.com:22", Server: "SSH-2.0-OpenSSH_9.2p1", Since: ago(time.Hour), Channels: 10, RTT: 0.01234, Stalled: true, CertificateExpires: &expiry},
				},
			},
			Forwards: []adminapi.Forward{
				{Kind: "local_forward", Listen: "127.0.0.1:5432", Target: "db.internal:5432", State: remote.Listening, Connections: 3},
				{Kind: "bind", Listen: "*:8080", State: remote.Refused, Error: "the bastion refuses to listen"},
			},
		},
		{Status: report.Status{
			Tunnel: "stage", State: report.StateDown, Since: ago(75 * time.Second), ProxyJump: "prod", User: "deploy",
			Hosts:     []string{"s1.internal:2222", "s2.internal:22"},
			LastError: &report.ErrorStatus{Time: ago(3 * time.Second), Host: "s1.internal:2222", Cause: failure.CauseHostKeyMismatch, Error: "host key mismatch"},
			NextRetry: &soon,
			Attempts:  []*connect.Attempt{{Host: "s1.internal:2222", Cause: failure.CauseHostKeyMismatch, HostKey: "SHA256:offered"}},
		}},
		{Status: report.Status{
			Tunnel: "edge", State: report.StateReconnecting, Since: ago(4 * time.Second), Hosts: []string{"edge.example.com:22"}, User: "caddy",
			LastError: &report.ErrorStatus{Time: ago(4 * time.Second), Host: "edge.example.com:22", Cause: failure.CauseLost, Error: "connection reset by peer"},
		}},
		{Status: report.Status{Tunnel: "quiet", State: report.StateIdle, Lazy: true, Since: ago(9 * time.Second), Hosts: []string{"quiet.example.com:22"}, User: "caddy"}},
	}
}

// fakeHistory has samples of which the last ones are without a connection.
func fakeHistory(now time.Time) func(string) []sample {
	return func(string) (samples []sample) {
		for i := range maxSamples {
			samples = append(samples, sample{
				at: now.Add(time.Duration(i-maxSamples+1) * sampleInterval), connected: i < maxSamples-5,
				channels: i % 7, received: int64(i) << 20, sent: int64(i*i) << 10, rtt: time.Duration(10+i%5) * time.Millisecond,
			})
		}
		return samples
	}
}

// get makes a request of a page that shows the tunnels.
func get(t *testing.T, tunnels []adminapi.Status, method, accept string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	app := fixed(tunnels)
	w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/", nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	err := (&Handler{app: &app}).ServeHTTP(w, r, nil)
	return w, err
}

// render returns the page as HTML.
func render(t *testing.T, tunnels []adminapi.Status, history func(string) []sample, now time.Time) string {
	t.Helper()
	var b strings.Builder
	if err := writePage(&b, newPage(tunnels, history, now)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// words returns the text that a page shows, with single spaces.
func words(t *testing.T, page string) string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for n := range root.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" && n.Parent.Data != "script" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// TestPageShows: all that the status has, with causes and fixes.
func TestPageShows(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 9, 30, 0, 0, time.UTC)
	page := render(t, fakeTunnels(now), fakeHistory(now), now)
	shown := words(t, page)
	for _, want := range []string{
		"(2 not ready) SSH tunnels",
		"1 up 1 reconnecting 1 down 1 idle as of 09:30:00 UTC",
		"prod up for 2d2h , since 2026-11-29 07:30 UTC host b2.example.com:22 user deploy certificate expires in 3h20m",
		"bind *:8080: refused the bastion refuses to listen",
		"channels 12 max 12 received 102 KiB/s max 102 KiB/s",
		"round trip 12.3ms max 14ms last 15 minutes · not connected",
		"Connections 1 + 1 draining · 5.0 GiB received, 121 KiB sent in all",
		"draining b1.example.com:22 OpenSSH_9.2p1 Debian-2+deb12u10 2d2h 2 4.0 GiB 0 B – –",
		"requests stalled b2.example.com:22 OpenSSH_9.2p1 1h0m 10 0 B 0 B 12.3ms expires in 3h20m",
		"local_forward 127.0.0.1:5432 db.internal:5432 listening 3",
		"site *:8080 – refused 0",
		"down for 1m15s , since 09:28:45 UTC host s1.internal:2222 or 1 more via prod user deploy",
		"host_key_mismatch 3s ago, tries again in 14s : the host key differs from the expected one host key mismatch Fix find out why",
		"replace the expected key with: host_key SHA256:offered",
		"lost 4s ago : the connection was lost connection reset by peer Fix see the bastion's log",
		"lazy connects at first use",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if t.Failed() {
		t.Log(shown)
	}
	if shown := words(t, render(t, nil, fakeHistory(now), now)); !strings.Contains(shown, "No tunnel is configured.") {
		t.Errorf("without tunnels: got %s", shown)
	}
	// Before the first samples, there is no line, and the page says so.
	if page := render(t, fakeTunnels(now), func(string) []sample { return nil }, now); !strings.Contains(page, `aria-label="received, last 15 minutes: no data yet"`) {
		t.Error("nothing says that there is no data yet")
	}
}

// hostile are texts that a bastion or a configuration may contain.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `'/onmouseover=alert(1)//`, `</title></style><script>alert(1)</script>`,
	"javascript:alert(1)", `{{.Name}}`, `<!--`, `]]>`, "&lt;b&gt;", "a\x00\x1b[2J\r\nb", "\u202egnp.exe\u2066", "\xff\xfe", `url(//evil.example)`, `</main><main>`,
}

// TestPageEscapes: no text becomes an element, an attribute or another text.
func TestPageEscapes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	shape := func(page string) string { // its elements and attributes, without values that may differ
		root, err := html.Parse(strings.NewReader(page))
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for n := range root.Descendants() {
			if n.Type == html.TextNode {
				continue
			}
			b.WriteString(n.Data)
			for _, a := range n.Attr {
				b.WriteString(" " + a.Key)
				if a.Key == "href" || a.Key == "id" || a.Key == "style" || strings.HasPrefix(a.Key, "on") {
					b.WriteString("=" + a.Val)
				}
			}
			b.WriteString("\n")
		}
		return b.String()
	}
	build := func(text string) string {
		tunnels := fakeTunnels(now)
		expiry := now.Add(time.Hour)
		tunnels[0] = adminapi.Status{
			Status: report.Status{
				Tunnel: text, State: report.StateUp, Since: now, Hosts: []string{text}, Host: text, User: text, ProxyJump: text, CertificateExpires: &expiry,
				Connections: []report.ConnectionStatus{{Class: report.ClassAny, Host: text, Remote: text, Server: text, HostKey: text, User: text, Authentication: text}},
				LastError:   &report.ErrorStatus{Time: now, Host: text, Cause: failure.CauseOther, Error: text},
				Prohibited:  &report.ErrorStatus{Time: now, Host: text, Cause: failure.CauseProhibited, Error: text},
				Attempts:    []*connect.Attempt{{Host: text, Started: now, Cause: failure.CauseHostKeyUnknown, HostKey: text, Error: text}},
			},
			Forwards: []adminapi.Forward{{Kind: "remote_forward", Listen: text, Target: text, State: remote.Refused, Error: text}},
		}
		return render(t, tunnels, fakeHistory(now), now)
	}
	want := shape(build("harmless"))
	for _, text := range hostile {
		page := build(text)
		if got := shape(page); got != want {
			t.Errorf("%q changes the page:\n%s", text, got)
		}
		if strings.ContainsAny(page, "\x00\x1b\r\u202e\u2066") || !strings.Contains(words(t, page), strings.Join(strings.Fields(printable.Line(text)), " ")) {
			t.Errorf("%q is not shown as it is", text)
		}
	}
}

// TestContentSecurityPolicy: the page is allowed its own style and script by their
// hashes, and nothing else. It has nothing else.
func TestContentSecurityPolicy(t *testing.T) {
	t.Parallel()
	w, err := get(t, fakeTunnels(time.Now()), "GET", "text/html")
	if err != nil {
		t.Fatal(err)
	}
	policy, page := w.Header().Get("Content-Security-Policy"), w.Body.String()
	for _, directive := range []string{
		"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "connect-src 'self'",
	} {
		if !strings.Contains("; "+policy+";", "; "+directive+";") {
			t.Errorf("the policy does not have %s: %s", directive, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("the policy is %s", policy)
	}
	for _, element := range []string{"style", "script"} {
		inline := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(page, -1)
		if len(inline) != 1 || strings.Count(page, "<"+element) != 1 {
			t.Fatalf("the page has %d times %s", strings.Count(page, "<"+element), element)
		}
		sum := sha256.Sum256([]byte(inline[0][1]))
		if want := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
			t.Errorf("the policy does not have %s: %s", want, policy)
		}
	}
	for _, never := range []string{`<[^>]*\s(src|style|on\w+|action|srcset|background)=`, `<(form|button|input|iframe|object|base)\b`, `<[^>]*https?:`, `@import|url\(`} {
		if found := regexp.MustCompile(never).FindString(page); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Vary": "Accept", "Content-Type": "text/html; charset=utf-8",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestPageJSON: the answer is what the admin API says.
func TestPageJSON(t *testing.T) {
	t.Parallel()
	tunnels := fakeTunnels(time.Now())
	w, err := get(t, tunnels, "GET", "application/json")
	if err != nil {
		t.Fatal(err)
	}
	want := httptest.NewRecorder()
	if err := adminapi.WriteJSON(want, http.StatusOK, tunnels); err != nil {
		t.Fatal(err)
	}
	if w.Body.String() != want.Body.String() || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", w.Header(), w.Body)
	}
	var read []adminapi.Status
	if err := json.Unmarshal(w.Body.Bytes(), &read); err != nil || len(read) != len(tunnels) {
		t.Errorf("got %d tunnels, %v", len(read), err)
	}
}

// TestPageChangesNothing: other methods than GET and HEAD are refused.
func TestPageChangesNothing(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD"} {
		if w, err := get(t, nil, method, ""); err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: got %d, %v", method, w.Code, err)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"} {
		w, err := get(t, nil, method, "")
		refused, ok := errors.AsType[caddyhttp.HandlerError](err)
		if !ok || refused.StatusCode != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" || w.Body.Len() > 0 {
			t.Errorf("%s: got %v %v", method, err, w.Header())
		}
	}
}
