//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// dynamic_test.go looks upstreams up with a real DNS server behind a bastion.

// unbound is a DNS server on 127.0.0.1:53 inside a network, for the zone internal.
type unbound struct {
	t       *testing.T
	netns   *sshtest.Netns
	dir     string
	serial  int
	process *sshtest.Process
}

// startUnbound starts a DNS server inside that knows records of internal.
func startUnbound(t *testing.T, netns *sshtest.Netns, records ...string) *unbound {
	t.Helper()
	u := &unbound{t: t, netns: netns, dir: t.TempDir()}
	u.write(records)
	config := fmt.Sprintf(`server:
	interface: 127.0.0.1
	do-daemonize: no
	use-syslog: no
	username: ""
	chroot: ""
	pidfile: ""
	directory: %[1]q
	module-config: "iterator"
	num-threads: 1
auth-zone:
	name: "internal."
	zonefile: "%[1]s/zone"
remote-control:
	control-enable: yes
	control-use-cert: no
	control-interface: %[1]s/control
`, u.dir)
	if err := os.WriteFile(u.config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	u.start()
	t.Cleanup(u.stop)
	return u
}

func (u *unbound) config() string { return filepath.Join(u.dir, "unbound.conf") }

func (u *unbound) write(records []string) {
	u.t.Helper()
	u.serial++
	zone := fmt.Sprintf("$ORIGIN internal.\n$TTL 1\n@ IN SOA ns hostmaster %d 3600 3600 3600 1\n@ IN NS ns\nns IN A 127.0.0.1\n%s\n", u.serial, strings.Join(records, "\n"))
	if err := os.WriteFile(filepath.Join(u.dir, "zone"), []byte(zone), 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// set gives the zone other records, all at once.
func (u *unbound) set(records ...string) {
	u.t.Helper()
	u.write(records)
	output(u.t, client(u.t, program(u.t, "unbound-control"), "-c", u.config(), "auth_zone_reload", "internal."))
}

func (u *unbound) start() {
	u.t.Helper()
	process, err := sshtest.StartProcess(u.netns.Command(program(u.t, "unbound"), "-d", "-c", u.config()), filepath.Join(u.dir, "log"))
	if err != nil {
		u.t.Fatal(err)
	}
	u.process = process
	sshtest.Eventually(u.t, patience, "unbound listens", func() bool {
		conn := u.netns.Dial("tcp", "127.0.0.1:53", time.Second)
		if conn == nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// stop ends the server. It is idempotent.
func (u *unbound) stop() { u.process.Kill() }

func runServiceDiscovery(e *example) {
	netns := sshtest.NewNetns(e.t)
	netns.SetResolver("127.0.0.1")
	b := newBastionIn(e.t, netns, "")
	e.hosts = append(e.hosts, "127.0.0.2 bastion.example.com")
	relay(e.t, e.netns.Listen("tcp", "127.0.0.2:22"), b.Addr())
	e.trust(b)
	e.replace("10.0.0.53", "127.0.0.1")
	startUnbound(e.t, netns, "_http._tcp.app IN SRV 1 1 8081 one.app", "one.app IN A 127.0.0.1", "_http._tcp.app IN SRV 1 1 80 web", "web IN A 127.0.0.1")
	b.serveWeb("one", "127.0.0.1:8081")
	b.serve80("a server that is not permitted")
	e.site("app.example.com")
	e.run()
	for range 5 {
		e.serves("https://app.example.com/hello", "one")
	}
}

// poison makes the network of Caddy one in which its own resolver and hosts file would
// lead elsewhere, and counts what they are asked.
func poison(netns *sshtest.Netns) (asked *atomic.Int64) {
	netns.SetHosts("127.0.0.9 web.internal web.internal.")
	netns.SetResolver("127.0.0.54")
	asked = new(atomic.Int64)
	packets := netns.ListenPacket("udp", "127.0.0.54:53")
	go func() { // returns when it is closed
		for buffer := make([]byte, 512); ; {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			asked.Add(1)
			if n > 3 { // no such name
				buffer[2], buffer[3] = buffer[2]|0x80, 0x83
				_, _ = packets.WriteTo(buffer[:n], from)
			}
		}
	}()
	go accept(netns.Listen("tcp", "127.0.0.54:53"), func(*net.TCPConn) { asked.Add(1) })
	return asked
}

// within lets the client of a Caddy in another network connect there.
func (c *caddy) within() *caddy {
	return c.with(&http.Transport{MaxIdleConnsPerHost: 100, DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
		if conn := c.netns.Dial(network, address, patience); conn != nil {
			return conn, nil
		}
		return nil, fmt.Errorf("nobody listens at %s", address)
	}})
}

// records of the servers behind the bastion, at 127.0.0.1 to 127.0.0.3.
var privateHosts = []string{"web1 IN A 127.0.0.1", "web2 IN A 127.0.0.2", "web3 IN A 127.0.0.3", "web IN A 127.0.0.1", "web IN A 127.0.0.2", "bad IN A 127.0.0.3"}

// services returns the SRV records of servers, and the rest of the zone.
func services(servers ...int) (records []string) {
	for _, n := range servers {
		records = append(records, fmt.Sprintf("_http._tcp.web IN SRV 10 50 800%[1]d web%[1]d", n))
	}
	return append(records, privateHosts...)
}

// TestDynamicUpstreams: SRV records change under load, DNS servers go and come back, and
// nothing is looked up or dialed from Caddy's own network.
func TestDynamicUpstreams(t *testing.T) {
	t.Parallel()
	netns := sshtest.NewNetns(t)
	netns.SetResolver("127.0.0.1") // for the targets of SRV records
	b := newBastionIn(t, netns, "")
	dns := startUnbound(t, netns, services(1)...)
	listeners, servers := make(map[int]net.Listener), make(map[int][]*sshtest.Web)
	start := func(n int) {
		listeners[n] = b.netns.Listen("tcp", fmt.Sprintf("127.0.0.%[1]d:800%[1]d", n))
		servers[n] = append(servers[n], sshtest.NewWeb(t, sshtest.WebOptions{Name: fmt.Sprint("web", n), Listener: listeners[n]}))
	}
	served := func(n int) (requests int) {
		for _, web := range servers[n] { // those that were stopped still serve the connections that they have
			requests += web.Requests()
		}
		return requests
	}
	start(1)
	b.serveWeb("a1", "127.0.0.1:80")
	b.serveWeb("a2", "127.0.0.2:80")
	b.serveWeb("bad", "127.0.0.3:80")
	b.serveWeb("poisoned", "127.0.0.9:80")

	c := newCaddy(t)
	c.netns = sshtest.NewNetns(t)
	asked := poison(c.netns)
	var own []*sshtest.Web // where Caddy would go without the tunnel
	for _, address := range []string{"127.0.0.1:80", "127.0.0.9:80", "127.0.0.1:8001"} {
		own = append(own, sshtest.NewWeb(t, sshtest.WebOptions{Name: "Caddy's own network", Listener: c.netns.Listen("tcp", address)}))
	}
	relay(t, c.netns.Listen("tcp", "127.0.0.5:22"), b.Addr())
	tunnel := func(name string, options ...string) string {
		return b.tunnelTo(name, "deploy@127.0.0.5:22", append(options, "identity_file "+b.key)...)
	}
	upstreams := func(path, tunnel, source, options, handler string) string {
		return fmt.Sprintf("handle_path /%s/* {\nreverse_proxy {\ndynamic %s {\n%s\n}\n%s\ntransport ssh_tunnel %s {\ndial_timeout 30s\n}\n}\n}\n", path, source, options, handler, tunnel)
	}
	const (
		resolvers = "\nresolvers 127.0.0.1"
		service   = "ssh_tunnel prod srv _http._tcp.web.internal"
	)
	config := c.caddyfile(tunnel("prod")+tunnel("strict", "permit_open 127.0.0.1:53 127.0.0.1:80"), "",
		upstreams("srv", "prod", service, "refresh 1s"+resolvers, "lb_try_duration 30s\nlb_try_interval 50ms")+
			upstreams("plain", "prod", service, "refresh 1s"+resolvers, "")+
			upstreams("a", "prod", "ssh_tunnel prod a web.internal", "refresh 1s\ngrace_period 10s"+resolvers, "")+
			upstreams("second", "prod", "ssh_tunnel prod a web.internal", "dial_timeout 10s\nresolvers 127.0.0.1:54 127.0.0.1:53", "")+
			upstreams("strict", "strict", "ssh_tunnel strict a web.internal", resolvers, "")+
			upstreams("bad", "strict", "ssh_tunnel strict a bad.internal", resolvers, "")+
			upstreams("here", "prod", "a web.internal", "", "")+
			upstreams("here2", "prod", "a other.internal", "", "")+
			"handle_errors {\nheader Retry-After {http.reverse_proxy.ssh_tunnel.retry_after}\nrespond {err.status_code}\n}\n")
	c.start(config)
	c = c.within()
	hello := func(path string) string {
		a := c.get("/" + path + "/hello")
		if a.err != nil || a.status != http.StatusOK {
			return a.String()
		}
		return strings.TrimSpace(strings.TrimPrefix(a.body, "hello from "))
	}
	sshtest.Eventually(t, patience, "the tunnel is up", func() bool { return hello("srv") == "web1" })

	t.Run("SRV records change under load", func(t *testing.T) {
		var clients sync.WaitGroup
		var requests atomic.Int64
		done := make(chan struct{})
		defer func() {
			close(done)
			clients.Wait()
			t.Logf("%d requests", requests.Load())
		}()
		for client := range 8 {
			clients.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					method, path, body := http.MethodGet, "/srv/hello", io.Reader(nil)
					if (client+n)%2 == 0 {
						method, path, body = http.MethodPost, "/srv/sum", strings.NewReader("hello")
					}
					if a := c.do(method, path, body); a.err != nil || a.status != http.StatusOK {
						t.Errorf("%s %s: %v", method, path, a)
						return
					}
					requests.Add(1)
				}
			})
		}
		for round, listed := range [][]int{{1, 2}, {2}, {2, 3}, {3}, {1, 3}, {2}} {
			for _, n := range listed {
				if listeners[n] == nil {
					start(n)
				}
			}
			dns.set(services(listed...)...)
			for n, l := range listeners {
				if !slices.Contains(listed, n) { // it accepts no connection any more, as soon as it is not listed
					_ = l.Close()
					delete(listeners, n)
				}
			}
			for _, n := range listed {
				before := served(n)
				sshtest.Eventually(t, patience, fmt.Sprintf("round %d: web%d gets requests", round, n), func() bool { return served(n) > before })
			}
			for n := range servers {
				if slices.Contains(listed, n) {
					continue
				}
				last, at := -1, int64(0) // the requests that it has served, and all when that was so
				sshtest.Eventually(t, patience, fmt.Sprintf("round %d: web%d gets none of a hundred requests", round, n), func() bool {
					if now := served(n); now != last {
						last, at = now, requests.Load()
					}
					return requests.Load() > at+100
				})
			}
		}
	})
	t.Run("addresses", func(t *testing.T) {
		for _, path := range []string{"a", "second"} {
			for _, want := range []string{"a1", "a2"} {
				sshtest.Eventually(t, patience, path+" leads to "+want, func() bool { return hello(path) == want })
			}
		}
	})
	t.Run("permit_open", func(t *testing.T) {
		for range 10 {
			if got := hello("strict"); got != "a1" {
				t.Errorf("got %s", got)
			}
		}
		if a := c.get("/bad/hello"); a.status != http.StatusForbidden {
			t.Errorf("got %v", a)
		}
		if !c.logged("permit_open does not permit upstreams that were looked up", "127.0.0.2:80") {
			t.Error("nothing is logged")
		}
	})
	t.Run("nothing is looked up here", func(t *testing.T) {
		if n := asked.Load(); n > 0 {
			t.Errorf("Caddy's own resolver was asked %d times", n)
		}
		for _, web := range own {
			if n := web.Accepted(); n > 0 {
				t.Errorf("%d connections to %s in Caddy's own network", n, web.Addr())
			}
		}
		// Its hosts file and its resolver do lead elsewhere.
		if got := hello("here"); got != "poisoned" {
			t.Errorf("dynamic a leads to %s", got)
		}
		c.get("/here2/hello")
		if asked.Load() == 0 {
			t.Error("dynamic a asks nobody")
		}
	})
	t.Run("the DNS server stops", func(t *testing.T) {
		hello("a") // the answer is not old
		dns.stop()
		began := time.Now()
		for reloaded := false; time.Since(began) < 4*time.Second; time.Sleep(20 * time.Millisecond) {
			if !reloaded && time.Since(began) > 2*time.Second {
				c.reload(config) // which finds the answers
				reloaded = true
			}
			if got := hello("a"); got != "a1" && got != "a2" {
				t.Fatalf("after %v: %s", time.Since(began), got)
			}
		}
		sshtest.Eventually(t, patience, "the grace period ends", func() bool { return strings.HasPrefix(hello("a"), "503 ") })
		if !c.logged("looking up upstreams failed", `DNS server "127.0.0.1:53"`, "connection refused") {
			t.Error("nothing is logged")
		}
		dns.start()
		sshtest.Eventually(t, patience, "the answers are back", func() bool { return hello("a") == "a1" })
	})
	t.Run("the bastion stops", func(t *testing.T) {
		b.Stop()
		sshtest.Eventually(t, patience, "status 503 with Retry-After", func() bool {
			a := c.get("/plain/hello")
			return a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != ""
		})
		if !c.logged("looking up upstreams failed", `tunnel "prod" is down`) {
			t.Error("nothing is logged")
		}
		b.Restart()
		sshtest.Eventually(t, patience, "it serves again", func() bool { return hello("plain") == "web2" })
	})
}
