//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// reload_test.go reloads Caddy while it is in use.

// TestReloadUnderLoad reloads ten times under the load of 50 clients, with
// streams of each kind open. Nothing of it may show, here or at the bastion.
func TestReloadUnderLoad(t *testing.T) {
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	c := newCaddy(t)
	raw := sshtest.NewPort(t)
	config := func(n int) string {
		site := fmt.Sprintf("header X-Config %d\n%s", n, strings.Replace(patient, "{", "{\nstream_close_delay 1h", 1))
		return c.caddyfile(b.tunnel("prod"), wrapper(raw), site) + c.site(raw, "")
	}
	c.start(config(0))
	c.wantServed()

	websocket := c.websocket()
	websocket.exchange("before")
	download := c.stream("/size/100000000?chunk=10000&every=10ms")
	download.read(100_000)
	rawConn := dialRaw(t, raw)
	rawConn.exchange("before")

	var stop atomic.Bool
	var served [50]atomic.Int64
	var unheard [len(served)][]string // requests that nobody answered
	var clients sync.WaitGroup
	for i := range served {
		client := c.with(new(http.Transport))
		clients.Go(func() {
			for n := 0; !stop.Load(); n++ {
				path := fmt.Sprintf("/hello?request=%d.%d.", i, n)
				switch a := client.get(path); {
				case a.status == 0:
					unheard[i] = append(unheard[i], path)
				case a.err != nil || a.status != http.StatusOK || a.body != "hello from web\n":
					t.Errorf("a request failed: %v", a)
					return
				default:
					served[i].Add(1)
				}
			}
		})
	}
	allServed := func() {
		t.Helper()
		var before [len(served)]int64
		for i := range served {
			before[i] = served[i].Load()
		}
		sshtest.Eventually(t, patience, "the load goes on", func() bool {
			for i := range served {
				if served[i].Load() < before[i]+10 && !t.Failed() {
					return false
				}
			}
			return true
		})
	}
	allServed()
	before := b.Logins()
	for n := 1; n <= 10; n++ {
		c.reload(config(n))
		sshtest.Eventually(t, patience, "the new configuration serves", func() bool {
			return c.get("/hello").header.Get("X-Config") == fmt.Sprint(n)
		})
		allServed()
		download.read(10_000)
		websocket.exchange(fmt.Sprint("reload ", n))
		rawConn.exchange(fmt.Sprint("reload ", n))
	}
	stop.Store(true)
	clients.Wait()
	download.read(1_000_000)
	// One for the requests and one for the streams, both from the start.
	if logins, more := b.Logins(), c.explained(); before > 2+more || logins < before || logins > before+more {
		t.Errorf("sshd saw %d logins, %d before the first reload", logins, before)
	}
}

// TestReloadChangesUser: the next configuration logs in as another user. What
// goes on through the old connection ends there.
func TestReloadChangesUser(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	c := newCaddy(t)
	raw := sshtest.NewPort(t)
	config := func(user string) string {
		tunnel := b.tunnelTo("prod", user+"@"+b.Addr(), "identity_file "+b.key, "connections 1")
		return c.caddyfile(tunnel, wrapper(raw), proxied) + c.site(raw, "")
	}
	c.start(config("deploy"))
	c.wantServed()
	response := c.open("/stream/100000000?chunk=10000&every=5ms")
	download := newStream(t, response.Body)
	download.read(50_000)
	rawConn := dialRaw(t, raw)
	rawConn.exchange("before")
	before := b.Sessions()

	c.reload(config("second"))
	c.wantServed()
	if log := b.Log(); strings.Count(log, "Accepted publickey for deploy ") != 1 || strings.Count(log, "Accepted publickey for second ") != 1 {
		t.Error("not one login each")
	}
	download.read(1_000_000)
	rawConn.exchange("after")

	// The old connection ends with the last that goes through it, and a moment
	// for what else may need it.
	_ = rawConn.Close()
	_ = response.Body.Close()
	sshtest.Eventually(t, 2*patience, "the old connection ends", func() bool {
		return !slices.ContainsFunc(b.Sessions(), func(pid int) bool { return slices.Contains(before, pid) })
	})
	c.wantServed()
	c.wantLogins(b.SSHD, 2)
}

// TestReloadRefused keeps everything as it was when the new configuration
// cannot be loaded.
func TestReloadRefused(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := b.serve()
	c.wantServed()
	download := c.stream("/size/100000000?chunk=10000&every=10ms")
	download.read(50_000)
	for _, config := range []string{
		c.caddyfile(b.tunnel("prod", "proxy_jump nowhere"), "", proxied),
		c.caddyfile(b.tunnel("other"), "", proxied),
		c.caddyfile(b.tunnel("prod"), "", proxied) + "http://127.0.0.1:1 {\nbind 192.0.2.1\nrespond no\n}\n", // its app starts and another does not
	} {
		if err := c.load(config); err == nil {
			t.Errorf("this was loaded:\n%s", config)
		}
		c.wantServed()
		download.read(50_000)
	}
	c.reload(c.caddyfile(b.tunnel("prod"), "", proxied))
	c.wantServed()
	download.read(50_000)
	c.wantLogins(b.SSHD, 1)
}
