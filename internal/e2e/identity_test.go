//go:build linux

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/autokey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// identity_test.go logs in with keys that are in no file: texts, and those that Caddy
// generates.

// TestContainer runs Caddy as an image has it that contains nothing else: without a home, a
// user database or any file, and with the key in a variable.
func TestContainer(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	text := string(b.identity.PEM(""))
	for name, value := range map[string]string{
		"lines":  text,
		"spaces": strings.ReplaceAll(text, "\n", " "),
		"base64": base64.StdEncoding.EncodeToString([]byte(text)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCaddy(t, "BASTION_KEY="+value)
			c.bare, c.netns = true, sshtest.NewNetns(t)
			c.netns.SetHosts()
			c.netns.WriteEtc("passwd", "\n")
			relay(t, c.netns.Listen("tcp", "127.0.0.2:22"), b.Addr())
			socket := filepath.Join(c.home, "site.sock")
			c.start(fmt.Sprintf("{\ndebug\nadmin unix/%s\npersist_config off\nssh_tunnel {\n%s}\n}\nhttp://127.0.0.1 {\nbind unix/%s\n%s\n}\n",
				c.adminSocket(), b.tunnelTo("prod", "deploy@127.0.0.2", "identity {env.BASTION_KEY}"), socket, proxied))
			c = c.with(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			}})
			c.wantServed()
			if !c.logged("connected", "publickey "+b.identity.Fingerprint()+" (identity 1 ({env.BASTION_KEY}))") {
				t.Error("the log does not say what let in")
			}
			config := c.fromAdmin("/config/")
			for _, said := range []string{config, c.log(), c.fromAdmin("/ssh_tunnel/tunnels")} {
				if line := strings.Split(text, "\n")[3]; strings.Contains(said, line) || strings.Contains(said, value) {
					t.Errorf("it shows the key: %s", said)
				}
			}
			if !strings.Contains(config, `"key":"{env.BASTION_KEY}"`) {
				t.Errorf("the placeholder is not in %s", config)
			}
		})
	}
}

// TestKeyOfFilePlaceholder: the file of a placeholder is watched. One that appears is used,
// and a refused key is tried again at once when another is there; so is the certificate.
func TestKeyOfFilePlaceholder(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	b := newBastion(t, "TrustedUserCAKeys "+filepath.Join(a.dir, "ca.pub"))
	dir := t.TempDir()
	put := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "new"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnelTo("prod", "deploy@"+b.Addr(), "identity {file."+dir+"/key}", "certificate {file."+dir+"/cert}"), "", proxied)
	})
	if !c.logged("warn", "does not exist; the tunnel is down until it does") {
		t.Error("there is no warning")
	}
	put("key", sshtest.NewKey().PEM(""))
	// After the fourth refusal, the next attempt is due in ten minutes.
	sshtest.Eventually(t, 3*patience, "the key is refused", func() bool { return strings.Count(b.Log(), "Failed publickey for deploy") >= 4 })
	put("key", b.identity.PEM(""))
	c.wantServed()

	// With a certificate, and then with its successor, whose connections replace the others.
	put("key", readFile(t, filepath.Join(a.dir, "id")))
	for range 2 {
		a.renew()
		put("cert", []byte(base64.StdEncoding.EncodeToString(readFile(t, filepath.Join(a.dir, fmt.Sprintf("..%d/id-cert.pub", a.n))))))
		if a.n == 1 {
			c.post("/ssh_tunnel/tunnels/prod/reconnect")
		}
		id := fmt.Sprintf(" ID renewal-%d ", a.n)
		sshtest.Eventually(t, patience, "a login with the certificate", func() bool { return strings.Contains(b.Log(), id) })
	}
	c.wantServed()
}

// autoTunnel is a tunnel with a generated key, and a storage that several share.
func autoTunnel(c *caddy, b *bastion, storage string) string {
	return c.caddyfile(b.tunnelTo("prod", "deploy@"+b.Addr(), "identity auto", "reconnect_delay 100ms 1s"), "storage file_system "+storage, patient)
}

// authorize lets keys in, and no other.
func (b *bastion) authorize(lines ...string) {
	b.t.Helper()
	if err := os.WriteFile(b.keys, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// TestGeneratedKey: two Caddys with one storage have one key, whose line the error of the
// refusal shows. They log in once the bastion has it, and again with a key that could not
// be read for a while.
func TestGeneratedKey(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	dir := t.TempDir()
	storage := autokey.Storage{Storage: &certmagic.FileStorage{Path: dir}}
	var caddies []*caddy
	for range 2 {
		c := newCaddy(t)
		if out, err := c.configured(autoTunnel(c, b, dir), "validate").CombinedOutput(); err != nil {
			t.Fatalf("validate: %v\n%s", err, out)
		}
		caddies = append(caddies, c)
	}
	stdout, stderr, exit := caddies[0].ssh("check", "--config", caddies[0].home+"/Caddyfile")
	if exit == 0 || !strings.Contains(stdout, "✓ host key") || !strings.Contains(stdout, "identity auto has no key yet") || !strings.Contains(stdout, "fix: run caddy ssh-tunnel public-key prod --install") {
		t.Errorf("check: %d\n%s%s", exit, stdout, stderr)
	}
	if _, err := storage.Load(t.Context(), "prod"); err == nil {
		t.Error("validate or check has generated a key")
	}
	var starts sync.WaitGroup
	for _, c := range caddies {
		starts.Go(func() { c.start(autoTunnel(c, b, dir)) })
	}
	starts.Wait()
	for _, c := range caddies {
		sshtest.Eventually(t, patience, "the key is refused", func() bool { return c.logged("key_refused") })
	}
	keys, err := storage.Load(t.Context(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	line := sshtest.AuthorizedKey(keys.Current.PublicKey())
	for _, c := range caddies {
		if !c.logged("connecting failed", keys.Current.String(), ": "+line+"; or run caddy ssh-tunnel public-key prod --install") {
			t.Errorf("the log does not have the line\n%s", line)
		}
	}
	stdout, stderr, exit = caddies[0].ssh("check", "--config", caddies[0].home+"/Caddyfile")
	if exit == 0 || !strings.Contains(stdout, "fix: add this line") || !strings.Contains(stdout, `permitopen="web.internal:80",permitlisten="localhost:1" `+line+" caddy-ssh-tunnel prod; or run") {
		t.Errorf("check: %d\n%s%s", exit, stdout, stderr)
	}
	b.authorize(line)
	for _, c := range caddies {
		c.post("/ssh_tunnel/tunnels/prod/reconnect")
		c.wantServed()
	}
	if stdout, stderr, exit = caddies[0].ssh("check", "--config", caddies[0].home+"/Caddyfile"); exit != 0 || !strings.Contains(stdout, "(identity auto)") {
		t.Errorf("check: %d\n%s%s", exit, stdout, stderr)
	}

	// Something that cannot be read is where the key was.
	c := caddies[1]
	c.stop(patience)
	files, err := filepath.Glob(filepath.Join(dir, "ssh_tunnel/identities/*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("in the storage there are %q, %v", files, err)
	}
	if err := os.Rename(files[0], dir+"/aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(files[0], 0o700); err != nil {
		t.Fatal(err)
	}
	c.start(autoTunnel(c, b, dir))
	sshtest.Eventually(t, patience, "the storage cannot be read", func() bool {
		return c.logged("connecting failed", "configuration", "reading the key of identity auto: ", "is a directory")
	})
	if a := c.get("/hello"); a.status != http.StatusServiceUnavailable && a.err == nil {
		t.Errorf("without the key: %v", a)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/aside", files[0]); err != nil {
		t.Fatal(err)
	}
	c.wantServed()
	if again, err := storage.Load(t.Context(), "prod"); err != nil || again.Current.String() != keys.Current.String() {
		t.Errorf("the key is %v, %v, and was %v", again.Current, err, keys.Current)
	}
}

// TestRotation: a key is replaced while requests come, and none fails. The next key is
// offered before the old one, which lets in until the bastion has the next; then it is
// deleted.
func TestRotation(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	dir := t.TempDir()
	storage := autokey.Storage{Storage: &certmagic.FileStorage{Path: dir}}
	first, err := storage.LoadOrCreate(t.Context(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	old := sshtest.AuthorizedKey(first.Current.PublicKey())
	b.authorize(old)
	c := startCaddy(t, func(c *caddy) string { return autoTunnel(c, b, dir) })
	c.wantServed()
	clients := startVisitors(t, 4, c)
	reconnect := func(fingerprint string) {
		t.Helper()
		n := strings.Count(b.Log(), "Accepted publickey for deploy")
		c.post("/ssh_tunnel/tunnels/prod/reconnect")
		sshtest.Eventually(t, patience, "a new login", func() bool { return strings.Count(b.Log(), "Accepted publickey for deploy") > n })
		sshtest.Eventually(t, patience, "the new connection", func() bool { return c.logged("connection replaced", fingerprint) })
		before := clients.requests.Load()
		sshtest.Eventually(t, patience, "requests go on", func() bool { return clients.requests.Load() > before+20 })
	}

	rotated, err := storage.Rotate(t.Context(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	next := rotated.Next.String()
	reconnect(first.Current.String())
	if !strings.Contains(b.Log(), "Failed publickey for deploy") || c.logged("replaced the key of identity auto") {
		t.Error("the next key was not offered, or took over")
	}
	b.authorize(old, sshtest.AuthorizedKey(rotated.Next.PublicKey()))
	reconnect(next)
	sshtest.Eventually(t, patience, "the old key is deleted", func() bool {
		return c.logged("info", "replaced the key of identity auto; the old one is deleted", next, first.Current.String())
	})
	if after, err := storage.Load(t.Context(), "prod"); err != nil || after.Next != nil || after.Current.String() != next {
		t.Errorf("afterwards there are %v, %v", after, err)
	}
	b.authorize(sshtest.AuthorizedKey(rotated.Next.PublicKey()))
	c.post("/ssh_tunnel/tunnels/prod/reconnect")
	before := clients.requests.Load()
	sshtest.Eventually(t, patience, "requests go on", func() bool { return clients.requests.Load() > before+20 })
	clients.end()
	t.Logf("%d requests", clients.requests.Load())
}
