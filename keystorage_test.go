package sshtunnel

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// TestKeyStorage has instances that share a storage see different keys of the
// same bastion first, all at once: they agree on one.
func TestKeyStorage(t *testing.T) {
	dir := t.TempDir()
	route := tunnel.Route{Name: "[b.example]:2222", Via: []string{"a.example", "::1"}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	if learned, err := (keyStorage{&certmagic.FileStorage{Path: dir}}).Recall(ctx, route); learned != nil || err != nil {
		t.Fatalf("recalled %v, %v from nothing", learned, err)
	}
	got := make([]*tunnel.LearnedKey, 3)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = (keyStorage{&certmagic.FileStorage{Path: dir}}).Learn(ctx, route, sshtest.NewKey().PublicKey()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	recalled, err := (keyStorage{&certmagic.FileStorage{Path: dir}}).Recall(ctx, route)
	if err != nil {
		t.Fatal(err)
	}
	for _, learned := range append(got, recalled) {
		if a, b := ssh.FingerprintSHA256(learned.Key), ssh.FingerprintSHA256(got[0].Key); a != b {
			t.Errorf("learned %s and %s", a, b)
		}
		if !learned.Learned.Equal(got[0].Learned) || time.Since(learned.Learned) > time.Minute {
			t.Errorf("learned at %s", learned.Learned)
		}
		if want := "caddy ssh-tunnel known-hosts forget '[b.example]:2222' --via a.example,::1"; learned.Forget != want {
			t.Errorf("the command is %s\nwant           %s", learned.Forget, want)
		}
	}
	if locks, err := os.ReadDir(filepath.Join(dir, "locks")); err != nil || len(locks) > 0 {
		t.Errorf("locks are left: %v, %v", locks, err)
	}
	// Another way to the same name is another bastion.
	for _, other := range []tunnel.Route{{Name: route.Name}, {Name: route.Name, Via: route.Via[:1]}, {Name: "b.example", Via: route.Via}} {
		if learned, err := (keyStorage{&certmagic.FileStorage{Path: dir}}).Recall(ctx, other); learned != nil || err != nil {
			t.Errorf("%s: recalled %v, %v", other, learned, err)
		}
	}
}

// TestKeyStorageFails: what cannot be locked, written or read is an error.
func TestKeyStorageFails(t *testing.T) {
	route := tunnel.Route{Name: "b.example"}
	file := sshtest.WriteFile(t, "file", nil)
	if _, err := (keyStorage{&certmagic.FileStorage{Path: file}}).Learn(t.Context(), route, sshtest.NewKey().PublicKey()); err == nil || !strings.Contains(err.Error(), "locking Caddy's storage: ") {
		t.Errorf("learning: %v", err)
	}
	key := sshtest.NewKey()
	line, certificate := authorizedKey(key.PublicKey()), authorizedKey(sshtest.Certify(sshtest.NewKey(), key, ssh.Certificate{CertType: ssh.HostCert}))
	for _, content := range []string{
		"", "{", "{}", `{"host": "b.example", "key": "ssh-ed25519 AAAA"}`,
		`{"host": "c.example", "key": "` + line + `"}`,
		`{"host": "b.example", "via": ["a.example"], "key": "` + line + `"}`,
		`{"host": "b.example", "key": "@revoked ` + line + `"}`,
		`{"host": "b.example", "key": "junk\n` + line + `"}`,
		`{"host": "b.example", "key": "` + line + ` comment"}`,
		`{"host": "b.example", "key": "` + certificate + `"}`,
	} {
		keys := keyStorage{&certmagic.FileStorage{Path: t.TempDir()}}
		if err := keys.Store(t.Context(), storageKey(route), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Recall(t.Context(), route); err == nil || !strings.Contains(err.Error(), " in Caddy's storage: ") || !strings.HasSuffix(err.Error(), "; forget it with: caddy ssh-tunnel known-hosts forget b.example") {
			t.Errorf("%q: recalling: %v", content, err)
		}
		// It does not count as nothing.
		if _, err := keys.Learn(t.Context(), route, sshtest.NewKey().PublicKey()); err == nil {
			t.Errorf("%q: learned over it", content)
		}
		if err := forgetKey(t.Context(), keys, new(bytes.Buffer), "b.example", ""); err != nil {
			t.Errorf("%q: forgetting: %v", content, err)
		}
		if learned, err := keys.Recall(t.Context(), route); learned != nil || err != nil {
			t.Errorf("%q: after forgetting: %v, %v", content, learned, err)
		}
	}
}

// FuzzStoredKey: of what is in the storage only that is taken which Learn writes.
func FuzzStoredKey(f *testing.F) {
	line := authorizedKey(sshtest.NewKey().PublicKey())
	f.Add(`{"host": "b.example", "key": "`+line+`"}`, "b.example", "")
	f.Add(`{"host": "[b.example]:2222", "via": ["a.example", "::1"], "key": "`+line+`", "learned": "2026-11-22T18:30:00Z"}`, "[b.example]:2222", "a.example,::1")
	f.Add(`{"host": "b.example", "key": "no-pty `+line+` comment"}`, "b.example", "")
	f.Fuzz(func(t *testing.T, content, host, via string) {
		route := tunnel.Route{Name: host}
		if via != "" {
			route.Via = strings.Split(via, ",")
		}
		stored, key, err := parseStored([]byte(content), route)
		if err != nil {
			if key != nil {
				t.Fatalf("an error, and a key: %v", err)
			}
			return
		}
		if stored.Key != authorizedKey(key) || storageKey(stored.route()) != storageKey(route) {
			t.Fatalf("for %q took %+v", route, stored)
		}
		value, err := json.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		if _, again, err := parseStored(value, route); err != nil || !bytes.Equal(again.Marshal(), key.Marshal()) {
			t.Fatalf("read again: %v", err)
		}
	})
}

// knownHosts runs `caddy ssh-tunnel known-hosts`.
func knownHosts(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newKnownHostsCommand()
	cmd.SetArgs(args)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestKnownHostsCommand(t *testing.T) {
	dir := t.TempDir()
	config := sshtest.WriteFile(t, "Caddyfile", []byte("{\nstorage file_system "+filepath.ToSlash(dir)+"\n}\n"))
	keys := keyStorage{&certmagic.FileStorage{Path: dir}}
	routes := []tunnel.Route{
		{Name: "b.example"},
		{Name: "b.example", Via: []string{"a.example"}},
		{Name: "[c.example]:2222", Via: []string{"a.example"}},
		{Name: "[c.example]:2222", Via: []string{"a.example", "[::1]:22022"}},
		{Name: "2001:db8::1"},
		{Name: "alias"},
		{Name: "d.example", Via: []string{"a.example"}},
	}
	if out, err := knownHosts(t, "--config", config); err != nil || out != "no host key was learned\n" {
		t.Errorf("%q, %v", out, err)
	}
	for _, route := range routes {
		if _, err := keys.Learn(t.Context(), route, sshtest.NewKey().PublicKey()); err != nil {
			t.Fatal(err)
		}
	}
	out, err := knownHosts(t, "list", "--config", config)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 1+len(routes) || !strings.HasPrefix(lines[0], "HOST ") {
		t.Errorf("listed\n%s", out)
	}
	for _, route := range routes {
		learned, err := keys.Recall(t.Context(), route)
		if err != nil {
			t.Fatal(err)
		}
		via := "-"
		if len(route.Via) > 0 {
			via = strings.Join(route.Via, ",")
		}
		want := strings.Join([]string{route.Name, via, "ssh-ed25519", ssh.FingerprintSHA256(learned.Key), learned.Learned.Format(time.RFC3339)}, " ")
		found := false
		for _, line := range lines {
			found = found || strings.Join(strings.Fields(line), " ") == want
		}
		if !found {
			t.Errorf("no line %q in\n%s", want, out)
		}
	}

	for _, test := range []struct {
		args []string
		gone int // of routes, or -1
		err  string
	}{
		{args: []string{"x.example"}, gone: -1, err: `no host key was learned for "x.example"; caddy ssh-tunnel known-hosts lists them`},
		{args: []string{"b.example", "--via", "x"}, gone: -1, err: `no host key was learned for "b.example via x"; caddy ssh-tunnel known-hosts lists them`},
		{args: []string{"B.example:22"}, gone: 0},
		{args: []string{"c.example:2222"}, gone: -1, err: "\"[c.example]:2222\" is reached in several ways; run one of\n" +
			"  caddy ssh-tunnel known-hosts forget '[c.example]:2222' --via a.example\n" +
			"  caddy ssh-tunnel known-hosts forget '[c.example]:2222' --via 'a.example,[::1]:22022'"},
		{args: []string{"[c.example]:2222", "--via", "a.example,[::1]:22022"}, gone: 3},
		{args: []string{"c.example:2222"}, gone: 2},
		{args: []string{"b.example"}, gone: 1},
		{args: []string{"2001:db8::1"}, gone: 4},
		{args: []string{"deploy@alias"}, gone: 5},
		{args: []string{"d.example", "--via", "deploy@a.example:22"}, gone: 6},
	} {
		out, err := knownHosts(t, append([]string{"forget", "--config", config}, test.args...)...)
		if (err != nil) != (test.err != "") || err != nil && err.Error() != test.err {
			t.Errorf("%q: error %v\nwant %s", test.args, err, test.err)
		}
		if test.gone < 0 {
			continue
		}
		route := routes[test.gone]
		if !strings.HasPrefix(out, "forgot the host key of "+route.String()+": ssh-ed25519 SHA256:") {
			t.Errorf("%q: %s", test.args, out)
		}
		if learned, err := keys.Recall(t.Context(), route); learned != nil || err != nil {
			t.Errorf("%q: still there: %v, %v", test.args, learned, err)
		}
	}
	if out, err := knownHosts(t, "--config", config); err != nil || out != "no host key was learned\n" {
		t.Errorf("in the end: %q, %v", out, err)
	}
	if _, err := knownHosts(t, "--config", filepath.Join(dir, "absent")); err == nil {
		t.Error("no error for a configuration that is absent")
	}
}

// TestAcceptNewPassword checks what may go with a password: what is learned
// may, as with ssh, but not whoever answers.
func TestAcceptNewPassword(t *testing.T) {
	for strict, ok := range map[string]bool{"accept-new": true, "no": false} {
		tun, logs, err := provisioned(t, `{"hosts": ["u@bastion"], "password": "{env.HOME}", "strict_host_key_checking": "`+strict+`"}`)
		if (err == nil) != ok {
			t.Errorf("%s: %v", strict, err)
		}
		if ok && (!tun.Config.AcceptNewHostKey || logs.Len() > 0) {
			t.Errorf("%s: %+v, %v", strict, tun.Config, logs.All())
		}
	}
}

// TestSSHConfigHostKeys checks what the files say about host keys.
func TestSSHConfigHostKeys(t *testing.T) {
	home := setHome(t)
	for text, want := range map[string]tunnel.Config{
		"StrictHostKeyChecking no":                          {AcceptNewHostKey: true},
		"StrictHostKeyChecking off":                         {AcceptNewHostKey: true},
		"StrictHostKeyChecking accept-new":                  {AcceptNewHostKey: true},
		"StrictHostKeyChecking ask":                         {},
		"StrictHostKeyChecking yes\nRevokedHostKeys ~/r /s": {RevokedHostKeys: []string{filepath.Join(home, "r"), "/s"}},
		"RevokedHostKeys none":                              {},
	} {
		file := sshtest.WriteFile(t, "config", []byte("Host a\nHostName b.example\n"+text+"\n"))
		for options, strict := range map[string]bool{"": false, `, "strict_host_key_checking": "yes", "revoked_host_keys": ["/written"]`: true} {
			tun, _, err := provisioned(t, `{"ssh_config": {"alias": "a", "file": "`+filepath.ToSlash(file)+`"}`+options+`}`)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			got, want := tun.Config, want
			if strict {
				want = tunnel.Config{RevokedHostKeys: []string{"/written"}}
			}
			if got.AcceptNewHostKey != want.AcceptNewHostKey || strings.Join(got.RevokedHostKeys, " ") != strings.Join(want.RevokedHostKeys, " ") || got.InsecureIgnoreHostKey {
				t.Errorf("%s%s: got %+v", text, options, got)
			}
		}
	}
}

// TestKeyMemory checks that tunnels, and the hosts on the way to them, have
// Caddy's storage where they need it.
func TestKeyMemory(t *testing.T) {
	setHome(t)
	file := sshtest.WriteFile(t, "config", []byte("Host a\nProxyJump b\nHost b\nProxyJump c\nHost a b\nStrictHostKeyChecking no\n"))
	config, err := adapt("{\nadmin off\npersist_config off\nssh_tunnel {\ntunnel prod {\nssh_config a " + filepath.ToSlash(file) + "\nlazy\n}\n}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Run(&cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	app, err := caddy.ActiveContext().App("ssh_tunnel")
	if err != nil {
		t.Fatal(err)
	}
	tun, err := app.(*App).tunnel("prod")
	if err != nil {
		t.Fatal(err)
	}
	if len(tun.Hops) != 2 {
		t.Fatalf("there are %d hops", len(tun.Hops))
	}
	for _, tun := range []*Resolved{tun.Resolved, tun.Hops[1]} {
		if keys, ok := tun.Settings.KeyMemory.(keyStorage); !ok || keys.Storage == nil {
			t.Errorf("%s remembers with %v", tun.Config.Name, tun.Settings.KeyMemory)
		}
	}
	if memory := tun.Hops[0].Settings.KeyMemory; memory != nil {
		t.Errorf("%s remembers with %v", tun.Hops[0].Config.Name, memory)
	}
}
