//go:build linux

package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// renewal_test.go logs in with certificates that are renewed.

// life is that of a certificate, which is renewed after two thirds of it. With
//
//	go test ./internal/e2e -run TestRenewal -args -life 1m
//
// the test takes more than five minutes. Otherwise no certificate ends: each is
// renewed once it has let somebody in.
var life = flag.Duration("life", 0, "how long the certificates of TestRenewal are valid")

// authority signs certificates for the user deploy of a bastion, as Vault or
// step-ca would.
type authority struct {
	t   *testing.T
	dir string // has ca and id
	n   int    // certificates so far
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	for _, key := range []string{"ca", "id"} {
		a.keygen("-t", "ed25519", "-N", "", "-f", filepath.Join(a.dir, key))
	}
	return a
}

func (a *authority) keygen(args ...string) {
	a.t.Helper()
	path := sshtest.Program(a.t, "ssh-keygen")
	if out, err := exec.Command(path, append([]string{"-q"}, args...)...).CombinedOutput(); err != nil {
		a.t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
	}
}

// renew puts a new version of the secret in place as Kubernetes does: the paths
// of its files are links through ..data, which is renamed over.
func (a *authority) renew(args ...string) {
	a.t.Helper()
	a.n++
	version := fmt.Sprintf("..%d", a.n)
	dir := filepath.Join(a.dir, version)
	if err := os.Mkdir(dir, 0o700); err != nil {
		a.t.Fatal(err)
	}
	valid := cmp.Or(*life, time.Hour)
	for _, name := range []string{"id", "id.pub"} {
		if err := os.Link(filepath.Join(a.dir, name), filepath.Join(dir, name)); err != nil {
			a.t.Fatal(err)
		}
	}
	a.keygen(append([]string{"-s", filepath.Join(a.dir, "ca"), "-I", fmt.Sprintf("renewal-%d", a.n), "-n", "deploy", "-V", fmt.Sprintf("+%ds", int(valid.Seconds()))}, append(args, filepath.Join(dir, "id.pub"))...)...)
	next, data := filepath.Join(a.dir, "..tmp"), filepath.Join(a.dir, "..data")
	if err := os.Symlink(version, next); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, data); err != nil {
		a.t.Fatal(err)
	}
	if a.n == 1 {
		for _, name := range []string{"id", "id-cert.pub"} {
			if err := os.Symlink("../..data/"+name, filepath.Join(a.secret(), name)); err != nil {
				a.t.Fatal(err)
			}
		}
		return
	}
	if err := os.RemoveAll(filepath.Join(a.dir, fmt.Sprintf("..%d", a.n-1))); err != nil {
		a.t.Fatal(err)
	}
}

// secret returns the directory of the links.
func (a *authority) secret() string {
	dir := filepath.Join(a.dir, "secret")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		a.t.Fatal(err)
	}
	return dir
}

// options are the tunnel's.
func (a *authority) options() []string {
	return []string{"identity_file " + filepath.Join(a.secret(), "id")}
}

// TestRenewal renews a certificate before each ends, with requests coming all
// along and a stream that outlives them all. No request fails, and every
// certificate lets somebody in.
func TestRenewal(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	b := newBastion(t, "TrustedUserCAKeys "+filepath.Join(a.dir, "ca.pub"))
	a.renew("-V", "+1h") // until Caddy is built and serves
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnelTo("prod", "deploy@"+b.Addr(), append(a.options(), "connections 2")...), "", proxied)
	})
	c.wantServed()
	stream := c.stream("/size/1000000000?chunk=1000&every=10ms")

	clients := startVisitors(t, 8, c)
	var renewal <-chan time.Time // when the next is due, if not at once
	if every := *life * 2 / 3; every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		renewal = ticker.C
	}
	for range max(3, int(*life/(7500*time.Millisecond))) {
		a.renew()
		id := fmt.Sprintf(" ID renewal-%d ", a.n)
		sshtest.Eventually(t, patience, "logins with the new certificate", func() bool { return strings.Count(b.Log(), id) >= 2 })
		stream.read(10_000)
		if renewal != nil {
			<-renewal
		}
		before := clients.requests.Load()
		sshtest.Eventually(t, patience, "requests go on", func() bool { return clients.requests.Load() > before+8 })
	}
	clients.end()
	t.Logf("%d requests, %d failed, %d certificates", clients.requests.Load(), clients.failed.Load(), a.n)
	// Times are whole seconds in certificates: of a short-lived one there may be less
	// left at its renewal than there should be.
	soon := (*life == 0 || *life >= time.Minute) && c.logged("expires soon")
	if soon || c.logged("has expired") {
		t.Error("a certificate that was renewed in time is logged")
	}
	stream.read(10_000)
}

// TestCertificateAppears: a tunnel that was refused for want of a certificate is
// up as soon as there is one, and not when its backoff ends.
func TestCertificateAppears(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	b := newBastion(t, "TrustedUserCAKeys "+filepath.Join(a.dir, "ca.pub"))
	late := filepath.Join(a.dir, "late") // does not exist yet
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnelTo("prod", "deploy@"+b.Addr(), "identity_file "+late+"/id"), "", proxied)
	})
	sshtest.Eventually(t, patience, "a slow backoff", func() bool { return c.logged("connecting failed; will retry", "attempt:3") })
	if err := os.Mkdir(late, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(a.dir, "id"), late+"/id"); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, patience, "the key is refused", func() bool { return strings.Contains(c.log(), "refused: publickey") })
	a.renew("-V", "+1h")
	if err := os.Rename(filepath.Join(a.dir, "..1", "id-cert.pub"), late+"/id-cert.pub"); err != nil {
		t.Fatal(err)
	}
	c.wantServed() // the backoff has ten minutes to go
	// Without its files, what is connected stays so.
	if err := os.RemoveAll(late); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if r := c.get("/hello"); r.status != http.StatusOK {
		t.Errorf("with the files removed: %v", r)
	}
}

// TestBareEnvironment runs Caddy with no home and an empty environment: a tunnel
// of written paths needs nothing of it.
func TestBareEnvironment(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	c := newCaddy(t)
	c.bare = true
	known := sshtest.WriteFile(t, "known_hosts", []byte(b.HostKeyLine()+"\n"))
	global := fmt.Sprintf("admin unix/%s\npersist_config off\nstorage file_system %s/data", c.adminSocket(), c.home)
	tunnel := fmt.Sprintf("tunnel prod deploy@%s {\nidentity_file %s\nknown_hosts %s\n}\n", b.Addr(), b.key, known)
	c.start(c.caddyfile(tunnel, global, proxied))
	c.wantServed()
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", c.cmd.Process.Pid))
	if err != nil || len(environ) > 0 {
		t.Errorf("the environment is %q, %v", environ, err)
	}
}
