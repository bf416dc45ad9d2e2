//go:build linux

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// public_key_test.go takes the line of authorized_keys that `caddy ssh-tunnel public-key`
// prints at its word: it is enough for the configuration, and without any part of it
// something fails or somebody gets further.

// printed runs a command with a Caddyfile, and returns what it prints, and on standard
// error.
func (c *caddy) printed(caddyfile string, args ...string) (out, said string) {
	c.t.Helper()
	cmd := c.configured(caddyfile, append([]string{"ssh-tunnel"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("%q: %v\n%s", args, err, stderr.String())
	}
	return string(stdout), stderr.String()
}

// TestPublicKeyLine prints the line for configurations of all kinds.
func TestPublicKeyLine(t *testing.T) {
	t.Parallel()
	b := newLeast(t)
	socket := serveSocket(t)
	local, other := "local_forward 5432 db.internal:5432", b.tunnelTo("other", "second@other.internal", "password x")
	site := "http://:8080 {\nbind ssh_tunnel/prod\nrespond ok\n}\n"
	toSocket := strings.Replace(proxied, "web.internal:80", "unix/"+socket, 1)
	reverse, rest, _ := strings.Cut(proxied, "web.internal:80")
	dynamic := reverse + strings.Replace(rest, "{\n", "{\ndynamic a web.internal 80\n", 1)

	for _, test := range []struct {
		name, tunnel, site, more string
		options                  string
		rights                   []string
		notes                    []string
	}{
		{
			name: "both", tunnel: local, site: proxied, more: site,
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="web.internal:80",permitopen="db.internal:5432",permitlisten="localhost:8080"`,
			rights:  append(slices.Clone(needed), beyond...),
		},
		{
			name: "dials", site: proxied,
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="web.internal:80",permitlisten="localhost:1"`,
			rights:  append([]string{"web.internal:80"}, beyond...),
		},
		{
			name: "listens", tunnel: "remote_forward 8080 localhost:9", site: "respond ok",
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="localhost:1",permitlisten="localhost:8080"`,
			rights:  append([]string{"listening on localhost:8080"}, beyond...),
		},
		{
			name: "listens everywhere", tunnel: "remote_forward *:8080 localhost:9", site: "respond ok",
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="localhost:1",permitlisten="*:8080"`,
			rights:  append([]string{"listening on :8080", "listening on localhost:8080"}, beyond...),
		},
		{
			name: "a socket", site: toSocket,
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="[` + socket + `]:*",permitlisten="localhost:1"`,
			rights:  append([]string{"a socket"}, beyond...),
		},
		{
			name: "nothing", site: "respond ok",
			options: `restrict,command="/usr/sbin/nologin"`,
		},
		{
			name: "patterns", tunnel: "permit_open web.internal:80-81 *.internal:5432", site: strings.Replace(proxied, "web.internal:80", "{http.request.header.To}", 1),
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="web.internal:80",permitopen="web.internal:81",permitopen="*:5432",permitlisten="localhost:1"`,
			rights:  append([]string{"db.internal:5432", "web.internal:80", "web.internal:81"}, beyond...),
			notes:   []string{"# permitopen has no form for *.internal:5432 of permit_open; what is written instead permits more\n"},
		},
		{
			name: "addresses of a name", site: dynamic,
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="*:80",permitlisten="localhost:1"`,
			rights:  append([]string{"web.internal:80"}, beyond...),
			notes:   []string{"# permitopen permits port 80 of every host: the addresses of dynamic upstreams a are not known"},
		},
		{
			name: "anything", tunnel: "dynamic_forward 1080", site: proxied,
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitlisten="localhost:1"`,
			rights:  append([]string{"a socket", "db.internal:5432", "web.internal:80", "web.internal:81"}, beyond...),
			notes:   []string{"# permitopen is left out: the targets of clients of the dynamic_forward at 127.0.0.1:1080 are not known; set permit_open in tunnel prod to limit them\n"},
		},
		{
			name: "jumps", site: "respond ok", more: "", tunnel: "",
			options: `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="other.internal:22",permitlisten="localhost:1"`,
			rights:  beyond,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCaddy(t)
			tunnels := b.tunnel("prod", test.tunnel)
			if test.name == "jumps" {
				tunnels += strings.Replace(other, "password x", "password x\nproxy_jump prod", 1)
			}
			out, notes := c.printed(c.caddyfile(tunnels, "", test.site)+test.more, "public-key", "prod")
			if want := test.options + " " + b.identity.AuthorizedKey() + " caddy-ssh-tunnel prod\n"; out != want {
				t.Fatalf("it prints\n%s\nwant\n%s", out, want)
			}
			for _, note := range test.notes {
				if !strings.Contains(notes, note) {
					t.Errorf("standard error has\n%s\nwant\n%s", notes, note)
				}
			}
			if len(test.notes) == 0 && notes != "" {
				t.Errorf("standard error has %q", notes)
			}
			slices.Sort(test.rights)
			options := strings.Split(test.options, ",")
			if got := b.strictly(t, byOptions(options)).rights(t, socket); !slices.Equal(got, test.rights) {
				t.Errorf("the line permits %q, want %q", got, test.rights)
			}
			for i, option := range options {
				if test.name == "jumps" && strings.HasPrefix(option, "permitopen") {
					continue // nothing is there
				}
				got := b.strictly(t, byOptions(slices.Delete(slices.Clone(options), i, i+1))).rights(t, socket)
				if slices.Equal(got, test.rights) {
					t.Errorf("the line does not need %s", option)
				}
			}
		})
	}
	c := newCaddy(t)
	if out, _ := c.printed(c.caddyfile(b.tunnel("prod"), "", proxied), "public-key", "--unrestricted"); out != b.identity.AuthorizedKey()+" caddy-ssh-tunnel prod\n" {
		t.Errorf("without restrictions it prints %q", out)
	}
	// sshd takes the options of the first line that has the key.
	out, notes := c.printed(c.caddyfile(b.tunnel("prod")+b.tunnel("more", local), "", proxied), "public-key", "prod")
	if !strings.Contains(out, `permitopen="web.internal:80",permitopen="db.internal:5432"`) || notes != "# the line is for tunnel more as well, which logs in there with the same key\n" {
		t.Errorf("for two tunnels it prints %q, and on standard error %q", out, notes)
	}
}

// freshBastion is a bastion where nobody has installed a key: its users log in with the
// password "correct horse", and have homes.
type freshBastion struct {
	*bastion
	home string // of deploy
}

// newFresh starts one. config is added to its sshd_config(5).
func newFresh(t *testing.T, config string) *freshBastion {
	t.Helper()
	hash, err := exec.Command("openssl", "passwd", "-6", "correct horse").Output()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "home") // t.TempDir's are ours alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.Chown(home, 60100, 65534); err != nil {
		t.Fatal(err)
	}
	b := newBastion(t, "")
	passwd := strings.Replace(string(readFile(t, b.netns.Etc("passwd"))), "deploy:*:60100:65534::/nonexistent:", "deploy:"+strings.TrimSpace(string(hash))+":60100:65534::"+home+":", 1)
	b.netns.WriteEtc("passwd", passwd)
	b.SSHD = sshtest.StartSSHD(t, sshtest.SSHDOptions{
		Netns: b.netns, Config: "AuthorizedKeysFile .ssh/authorized_keys\nPasswordAuthentication yes\nStrictModes yes\n" + config,
	})
	return &freshBastion{b, home}
}

// authorized returns what its authorized_keys has.
func (b *freshBastion) authorized() string {
	return read(filepath.Join(b.home, ".ssh/authorized_keys"))
}

// authorize makes that the content of its authorized_keys. Both are deploy's.
func (b *freshBastion) authorize(lines string) {
	b.t.Helper()
	dir := filepath.Join(b.home, ".ssh")
	file := filepath.Join(dir, "authorized_keys")
	err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(file, []byte(lines), 0o600), os.Chown(dir, 60100, 65534), os.Chown(file, 60100, 65534))
	if err != nil {
		b.t.Fatal(err)
	}
}
