//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bind_faults_test.go reloads what is served from the bastion, and breaks the way
// to it.

// visits are requests that were made of a site, in a loop of many clients.
type visits struct {
	served, failed atomic.Int64
	stale          atomic.Int64 // answered by another configuration than the one that must
	wanted         atomic.Int64 // the configuration that a new connection must get
	mu             sync.Mutex
	errors         map[string]int
}

// keep makes requests until done is closed.
func (v *visits) keep(done <-chan struct{}, client *http.Client, url string, fresh bool) {
	for {
		select {
		case <-done:
			return
		case <-time.After(2 * time.Millisecond): // other tests need the processor, too
		}
		wanted := v.wanted.Load()
		request, _ := http.NewRequest(http.MethodGet, url, nil)
		request.Close = fresh
		response, err := client.Do(request)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
			if got := strings.TrimSpace(string(body)); err == nil && fresh {
				var n int64
				if _, scanErr := fmt.Sscanf(got, "config %d", &n); scanErr != nil || n < wanted {
					v.stale.Add(1)
				}
			}
		}
		if err != nil {
			v.failed.Add(1)
			v.mu.Lock()
			if v.errors == nil {
				v.errors = make(map[string]int)
			}
			v.errors[fmt.Sprintf("%v, new connection %v", errors.Unwrap(err), fresh)]++
			v.mu.Unlock()
			continue
		}
		v.served.Add(1)
	}
}

// failures is the share of requests that failed.
func (v *visits) failures() float64 {
	return float64(v.failed.Load()) / float64(v.served.Load()+v.failed.Load())
}

// TestBindReloads reloads ten times while visitors come to two sites: one on the
// bastion and, for comparison, one here.
func TestBindReloads(t *testing.T) {
	b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
	c := newCaddy(t)
	config := func(n int) string {
		page := fmt.Sprintf("respond \"config %d\"\n", n)
		return b.bound("auto_https off", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\n%s}\nhttp://:%d {\nbind 127.0.0.1\n%s}\n", anyPort, page, c.port, page))
	}
	c.start(config(0))
	_ = b.dialOutside(anyPort).Close()

	done := make(chan struct{})
	var clients sync.WaitGroup
	var bastion, plain visits
	for i := range 16 {
		fresh := i%2 == 0
		clients.Go(func() {
			bastion.keep(done, b.visitor(anyPort, nil), "http://any/", fresh)
		})
		clients.Go(func() {
			client := &http.Client{Transport: new(http.Transport), Timeout: patience}
			defer client.CloseIdleConnections()
			plain.keep(done, client, "http://"+local(c.port)+"/", fresh)
		})
	}
	goOn := func() {
		t.Helper()
		before := bastion.served.Load() + bastion.failed.Load()
		sshtest.Eventually(t, patience, "the load goes on", func() bool {
			return bastion.served.Load()+bastion.failed.Load() > before+100
		})
	}
	goOn()
	for n := 1; n <= 10; n++ {
		c.reload(config(n))
		bastion.wanted.Store(int64(n))
		goOn()
	}
	close(done)
	clients.Wait()
	t.Logf("bastion: %d served, failed: %v", bastion.served.Load(), bastion.errors)
	t.Logf("plain: %d served, failed: %v", plain.served.Load(), plain.errors)
	// Three in a thousand is for machines that do much at once, where the old
	// configuration does not get to read what it has accepted.
	if rate := bastion.failures(); rate > max(plain.failures(), 0.003) {
		t.Errorf("%.4f of the requests failed on the bastion, %.4f here", rate, plain.failures())
	}
	if n := bastion.stale.Load(); n > 0 {
		t.Errorf("%d new connections were served by a configuration that had been replaced", n)
	}
	c.wantLogins(b.SSHD, 1)
}

// TestBindBastionKilled kills sshd and starts it again.
func TestBindBastionKilled(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "")
	startCaddy(t, func(*caddy) string {
		return b.bound("", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod\nrespond hello\n}\n", ownPort))
	})
	site := fmt.Sprintf("http://localhost:%d", ownPort)
	b.curls(site)
	for range 2 {
		b.Stop()
		if err := b.curl(site).Run(); err == nil {
			t.Fatal("the site is served without sshd")
		}
		b.Restart()
		start := time.Now()
		b.curls(site)
		t.Logf("served again %v after sshd could be reached", time.Since(start))
	}
}

// TestBindPortHeld has a session of sshd hang, with the port that it holds. The
// log says so, and the site is served again once the port is free.
func TestBindPortHeld(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "")
	c := startCaddy(t, func(*caddy) string {
		return b.bound("", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod\nrespond hello\n}\n", ownPort),
			"server_alive_interval 1s", "server_alive_count_max 1")
	})
	site := fmt.Sprintf("http://localhost:%d", ownPort)
	b.curls(site)
	old := b.Sessions()
	signal := func(to syscall.Signal) {
		for _, pid := range old {
			_ = syscall.Kill(pid, to)
		}
	}
	signal(syscall.SIGSTOP)
	t.Cleanup(func() { signal(syscall.SIGKILL) })
	sshtest.Eventually(t, patience, "the log says why not", func() bool {
		return c.logged("the bastion refuses a remote forward; will retry", "level:warn", "set ClientAliveInterval on the bastion")
	})
	signal(syscall.SIGKILL)
	start := time.Now()
	b.curls(site)
	t.Logf("served again %v after the port was free", time.Since(start))
	// The first was lost when its session hung.
	c.wantLogins(b.SSHD, 2)
}

// TestBindReloadChangesUser: the next configuration logs in as another user, of
// whom the bastion hears nothing yet. The old tunnel serves the new configuration
// until the new one is connected.
func TestBindReloadChangesUser(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
	c := newCaddy(t)
	config := func(user string, link *sshtest.Link) string {
		return fmt.Sprintf("{\nssh_tunnel {\n%s}\n}\nhttp://:%d {\nbind ssh_tunnel/prod/*\nrespond %s\n}\n",
			b.tunnelTo("prod", user+"@"+link.Addr(), "identity_file "+b.key), anyPort, user)
	}
	client := b.visitor(anyPort, nil)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	serves := func(user string) func() bool {
		return func() bool {
			response, err := client.Get("http://any/")
			if err != nil {
				return false
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			return err == nil && string(body) == user
		}
	}
	loggedIn := func(user string) bool { return strings.Contains(b.Log(), "Accepted publickey for "+user+" ") }

	c.start(config("deploy", b.link()))
	sshtest.Eventually(t, patience, "the site is served", serves("deploy"))
	for _, user := range []string{"second", "third"} {
		link := b.link()
		link.Freeze(sshtest.Both)
		before := b.Sessions()
		c.reload(config(user, link))
		for range 10 {
			sshtest.Eventually(t, patience, "the old tunnel serves "+user, serves(user))
		}
		if loggedIn(user) {
			t.Fatalf("%s has logged in through a frozen link", user)
		}
		link.Thaw(sshtest.Both)
		sshtest.Eventually(t, patience, user+" logs in", func() bool { return loggedIn(user) })
		sshtest.Eventually(t, 4*patience, "the old tunnel ends", func() bool {
			return !slices.ContainsFunc(b.Sessions(), func(pid int) bool { return slices.Contains(before, pid) })
		})
		sshtest.Eventually(t, patience, "the new tunnel serves "+user, serves(user))
	}
}

// TestBindLeavesNothing takes a site with TLS off the bastion again, after some
// reloads. What has stood for its UDP goes as well.
func TestBindLeavesNothing(t *testing.T) {
	t.Parallel()
	const host = "site.example.com"
	b, ca := newEmptyBastion(t, ""), sshtest.NewCA()
	site := fmt.Sprintf("https://%s:%d {\nbind ssh_tunnel/prod\n%srespond hello\n}\n", host, tlsPort, certificate(t, ca, host))
	c := startCaddy(t, func(*caddy) string { return b.bound("", site) })
	url := fmt.Sprintf("https://%s:%d", host, tlsPort)
	args := []string{"--insecure", "--resolve", fmt.Sprintf("%s:%d:127.0.0.1", host, tlsPort), url}
	for range 5 {
		b.curls(args...)
		c.reload(b.bound("", site))
	}
	if _, stacks := c.goroutines(); strings.Count(stacks, "noPackets") != 1 {
		t.Errorf("there is not one that stands for UDP:\n%s", stacks)
	}
	c.reload(b.bound("", ""))
	var stacks string
	sshtest.Eventually(t, patience, "the listener is gone", func() bool {
		_, stacks = c.goroutines()
		return !strings.Contains(stacks, "noPackets") && !strings.Contains(stacks, "forward).keep") && !strings.Contains(stacks, "Listener")
	})
	if err := b.curl(args...).Run(); err == nil {
		t.Error("the site is still served")
	}
}
