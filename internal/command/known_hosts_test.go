package command

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

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
	keys := keystorage.Storage{Storage: &certmagic.FileStorage{Path: dir}}
	routes := []hostkey.Route{
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
	// A bastion that has announced two more keys.
	two := []ssh.PublicKey{sshtest.NewKey().PublicKey(), sshtest.PublicOf(t, sshtest.RSAKey(t, 2048))}
	learned, err := keys.Recall(t.Context(), routes[2])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Update(t.Context(), routes[2], hostkey.Change{Trusted: learned.Keys[0].Key, Add: two}); err != nil {
		t.Fatal(err)
	}
	out, err := knownHosts(t, "list", "--config", config)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 1+len(routes)+len(two) || !strings.HasPrefix(lines[0], "HOST ") {
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
		for _, k := range learned.Keys {
			want := strings.Join([]string{route.Name, via, k.Key.Type(), ssh.FingerprintSHA256(k.Key), k.Learned.Format(time.RFC3339)}, " ")
			found := false
			for _, line := range lines {
				found = found || strings.Join(strings.Fields(line), " ") == want
			}
			if !found {
				t.Errorf("no line %q in\n%s", want, out)
			}
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
		if n := strings.Count(out, "forgot the host key of "); test.gone == 2 && n != 3 || test.gone != 2 && n != 1 {
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
