package command

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCheckPrint prints a report with all that there can be in one.
func TestCheckPrint(t *testing.T) {
	t.Parallel()
	const key = "SHA256:uNiVztksCsDhcc0u9e8BrMXMMVIpYvRXb1ZVJgQxcvE"
	jump := &hopReport{Hop: "jump", Host: "jump.example.com:22", OK: true}
	jump.add(
		&checkStep{Step: connect.StepReach, OK: true, Took: 0.0124, Detail: "203.0.113.7:22"},
		&checkStep{Step: connect.StepBanner, OK: true, Took: 0.0004, Detail: "SSH-2.0-OpenSSH_9.2p1"},
		&checkStep{Step: connect.StepHostKey, OK: true, Took: 12.34, Detail: key + ", known by host_key", Warnings: []string{"known_hosts line kh:3 is skipped: no host name"}},
	)
	inner := &hopReport{Hop: "ssh_config inner", Host: "10.0.0.5:22", OK: true}
	inner.add(
		&checkStep{Step: connect.StepReach, Took: 10, Cause: failure.CauseRefused, Error: "connection refused", Fix: "start sshd"},
		&checkStep{Step: connect.StepBanner, NotReached: true},
	)
	last := &hopReport{Hop: "prod", Host: "10.0.0.6:22", OK: true}
	last.add(
		&checkStep{Step: stepForwarding, OK: true, Detail: "permitted"},
		&checkStep{Step: stepTarget, Target: "db.internal:5432", Took: 0.003, Cause: "connection_refused", Error: "refused", Fix: "start it"},
	)
	report := &tunnelReport{Tunnel: "prod", Hops: []*hopReport{jump, inner, last}}
	var b bytes.Buffer
	report.print(&b)
	(&tunnelReport{Tunnel: "other", Hops: []*hopReport{misconfigured("other", os.ErrNotExist)}}).print(&b)
	golden, err := os.ReadFile("testdata/check.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(golden) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), golden)
	}
	if !jump.OK || inner.OK || last.OK {
		t.Error("a hop is not as its steps are")
	}
}

// TestKeyscanPrint prints a server's keys: comments apart, a known_hosts file.
func TestKeyscanPrint(t *testing.T) {
	t.Parallel()
	host := scannedHost{
		Host: "b.example:2222", OK: true, Server: "SSH-2.0-x",
		Keys:   []scannedKey{{Type: "ssh-ed25519", KnownHosts: "[b.example]:2222 ssh-ed25519 AAAA", HostKey: "SHA256:x", Compare: "ssh-keygen -lf /key"}},
		Unread: []string{"ssh-ed448"},
	}
	var b bytes.Buffer
	host.print(&b)
	scannedHost{Host: "down:22", Error: "refused"}.print(&b)
	want := "# b.example:2222 SSH-2.0-x\n[b.example]:2222 ssh-ed25519 AAAA\n#   host_key SHA256:x   (ssh-keygen -lf /key)\n" +
		"# not shown, since they are not supported: ssh-ed448\n# down:22: refused\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestCheckTargets finds what a configuration sends through a tunnel, and
// completes the names of its tunnels.
func TestCheckTargets(t *testing.T) {
	t.Setenv("PASSWORD", "x")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	flags := configFlags{file: "testdata/targets.json"}
	config, err := flags.load()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"prod": {
			"tcp db.internal:5432 local_forward", "tcp git.internal:22 listener wrapper", "tcp inner.internal:2222 proxy_jump of inner",
			"tcp localhost:8080 reverse_proxy", "tcp web.internal:80 reverse_proxy", "unix /run/web.sock reverse_proxy",
		},
		"inner": {"tcp other.internal:80 reverse_proxy"},
	} {
		tun, err := config.resolveOne(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range config.uses(tun).Targets {
			got = append(got, w.Network+" "+w.Address+" "+w.By)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if names, directive := flags.complete(nil, []string{"prod"}, ""); !slices.Equal(names, []string{"inner"}) || directive != cobra.ShellCompDirectiveNoFileComp {
		t.Errorf("it completes %q, %v", names, directive)
	}
	if _, err := config.names([]string{"prdo"}); err == nil || err.Error() != `unknown tunnel "prdo"; configured: inner, prod` {
		t.Errorf("an unknown name: %v", err)
	}
	// What is resolved is the tunnel, and what it goes through.
	for name, want := range map[string][]string{"prod": {"prod"}, "inner": {"prod", "inner"}} {
		resolved, err := config.resolveOne(nil, name)
		if err != nil {
			t.Fatal(err)
		}
		var chain []string
		for _, hop := range resolved.Chain() {
			chain = append(chain, hop.Config.Name)
		}
		if !slices.Equal(chain, want) {
			t.Errorf("%s: the chain is %q, want %q", name, chain, want)
		}
	}
}

func TestConfigFlagsRefuse(t *testing.T) {
	for content, want := range map[string]string{
		":80 {\n}\n":                   "no tunnel is configured",
		"{\nssh_tunnel {\nx\n}\n}\n":   "adapting config",
		"{\n\"apps\": {\"ssh_tunnel\"": "adapting config",
	} {
		flags := configFlags{file: sshtest.WriteFile(t, "Caddyfile", []byte(content))}
		if _, err := flags.load(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
	t.Chdir(t.TempDir())
	if _, err := new(configFlags).load(); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a file: %v", err)
	}
	for _, c := range []struct {
		flags keyscanFlags
		args  []string
		want  string
	}{
		{keyscanFlags{}, nil, "nothing to scan"},
		{keyscanFlags{tunnel: "prod"}, []string{"host"}, "leave out the hosts"},
		{keyscanFlags{tunnel: "prod", jumps: forwardFlags{jumps: "j"}}, nil, "leave out -J"},
		{keyscanFlags{jumps: forwardFlags{port: "x"}}, []string{"host"}, "-p: "},
		{keyscanFlags{}, []string{"http://host"}, "http://host"},
	} {
		if err := c.flags.run(t.Context(), &bytes.Buffer{}, c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v %q: got %v, want %q", c.flags, c.args, err, c.want)
		}
	}
	null := sshtest.WriteFile(t, "null.json", []byte(`{"apps": {"ssh_tunnel": {"tunnels": {"prod": null}}}}`))
	scan := &keyscanFlags{tunnel: "prod", config: configFlags{file: null}}
	if err := scan.run(t.Context(), &bytes.Buffer{}, nil); err == nil || !strings.Contains(err.Error(), `tunnel "prod": empty`) {
		t.Errorf("scanning a null: %v", err)
	}
	var out bytes.Buffer
	check := &checkFlags{config: configFlags{file: null}}
	if err := check.run(t.Context(), &out, nil); !errors.Is(err, errNotWell) || !strings.Contains(out.String(), `tunnel "prod": empty`) {
		t.Errorf("checking a null: %v\n%s", err, out.String())
	}
	if err := (&checkFlags{targets: []string{"host"}}).run(t.Context(), &bytes.Buffer{}, nil); err == nil || !strings.Contains(err.Error(), "--target: ") {
		t.Errorf("a target without a port: %v", err)
	}
}

// TestCheckSays names skipped lines of known_hosts, and what a port has that is no
// SSH server's.
func TestCheckSays(t *testing.T) {
	t.Parallel()
	key := sshtest.NewKey()
	bastion := sshtest.NewBastion(t, sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	known := sshtest.WriteFile(t, "known_hosts", []byte("\ufeff"+bastion.KnownHostsLine()+"\n"))
	tunnelTo := func(address string) string {
		return fmt.Sprintf(`{"hosts": [%q], "user": "u", "identity_agent": "none", "identity_files": [{"path": %q}], "known_hosts": [%q], "host_keys": [%q]}`,
			address, sshtest.WriteFile(t, "id", key.PEM("")), known, bastion.HostKeyFingerprint())
	}
	file := sshtest.WriteFile(t, "caddy.json", []byte(`{"apps": {"ssh_tunnel": {"tunnels": {"prod": `+tunnelTo(bastion.Addr())+`, "web": `+tunnelTo(web.Addr())+`}}}}`))
	var out bytes.Buffer
	check := &checkFlags{config: configFlags{file: file}}
	if err := check.run(t.Context(), &out, nil); !errors.Is(err, errNotWell) {
		t.Errorf("got %v", err)
	}
	_, port, _ := net.SplitHostPort(web.Addr())
	for _, want := range []string{
		"warning: known_hosts line " + known + ":1 is skipped: it begins with a byte order mark",
		"instead of an SSH banner: that is a web server",
		"fix: write sshd's port behind the host, in place of " + port,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
