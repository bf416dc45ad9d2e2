//go:build unix

package statuspage

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
)

// busyApp has tunnels that change: the first one has one channel more each time.
type busyApp struct{ asked atomic.Int64 }

func (a *busyApp) TunnelStatus() []adminapi.Status {
	tunnels := fakeTunnels(time.Now())
	tunnels[0].Channels = int(a.asked.Add(1))
	tunnels[1].Hosts[0] = strings.Repeat("long", 60) + ".example.com:22"
	tunnels[1].LastError.Error = strings.Repeat("x", 200)
	tunnels[3].Tunnel = "<script>console.error('injected')</script>" + strings.Repeat("n", 60)
	return tunnels
}

// TestBrowser looks at the page in Chromium: it fits windows from 360 to 1,400 pixels, in
// both color schemes; it updates itself; it says so when Caddy does not answer; nothing
// violates its policy.
func TestBrowser(t *testing.T) {
	b := newBrowser(t)
	app := new(busyApp)
	handler := &Handler{app: app}
	var failing atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if failing.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := handler.ServeHTTP(w, r, nil); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)

	address := server.URL + "/status?x=1"
	b.open(address)
	const channels = `document.querySelector(".tunnel figcaption b").textContent`
	if got := b.eval(`document.querySelectorAll("section.tunnel").length + " " + ` + channels); got != "4 1" {
		t.Errorf("the page has tunnels and channels: %s", got)
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{360, 600, 768, 900, 1400} {
			b.show(width, scheme)
			if got, want := b.eval(`innerWidth + " " + Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)`), fmt.Sprint(width, " ", width); got != want {
				t.Errorf("%d pixels, %s: the window and the page are %s wide", width, scheme, got)
			}
		}
		background := b.eval(`getComputedStyle(document.body).backgroundColor`)
		if dark := background == "rgb(18, 21, 24)"; dark != (scheme == "dark") {
			t.Errorf("%s: the background is %s", scheme, background)
		}
	}

	// It updates, and stays where the reader is.
	b.show(360, "light")
	b.eval(`document.getElementById("to-tunnel-2").focus(); scrollTo(0, 300)`)
	shown := b.eval(channels)
	b.eventually(channels+` > `+shown, "true")
	if got := b.eval(`document.activeElement.id + " " + scrollY + " " + document.title`); got != "to-tunnel-2 300 (2 not ready) SSH tunnels" {
		t.Errorf("after an update: %s", got)
	}
	b.eventually(`document.getElementById("live").textContent`, "Updates every 5 seconds")
	if len(b.complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(b.complaints, "\n"))
	}

	// It does not change a text that the reader copies.
	const now = `document.dispatchEvent(new Event("visibilitychange"))`
	b.eval(`getSelection().selectAllChildren(document.querySelector("h1"))`)
	b.eval(now)
	b.eventually(`document.getElementById("live").textContent`, "Does not update while text is selected")
	before := app.asked.Load()
	b.eval(now)
	if app.asked.Load() != before {
		t.Error("it updates while text is selected")
	}
	b.eval(`getSelection().removeAllRanges()`)

	failing.Store(true)
	b.eval(now)
	b.eventually(`document.documentElement.className + ": " + document.getElementById("live").textContent`,
		"failed: Cannot reach Caddy (HTTP 503). Trying again; below is the last answer.")
	failing.Store(false)
	b.eval(now)
	b.eventually(`document.documentElement.className + ": " + document.getElementById("live").textContent`, ": Updates every 5 seconds")

	// Without JavaScript, all of it is there.
	b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
	b.open(server.URL + "/")
	if got := b.eval(`document.querySelectorAll("section.tunnel svg.spark path.line").length + " " + document.getElementById("live").innerText`); got != "16 Reload the page to update it." {
		t.Errorf("without JavaScript: %s", got)
	}
}
