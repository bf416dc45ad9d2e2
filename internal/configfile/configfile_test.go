package configfile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestTargets finds what a configuration sends through a tunnel.
func TestTargets(t *testing.T) {
	t.Setenv("PASSWORD", "x")
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	config, err := Load("testdata/targets.json", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"prod": {
			"tcp db.internal:5432 local_forward", "tcp git.internal:22 listener wrapper", "tcp inner.internal:2222 proxy_jump of inner",
			"tcp localhost:8080 reverse_proxy", "tcp mail.internal:143 layer4", "tcp web.internal:80 reverse_proxy", "unix /run/web.sock reverse_proxy",
		},
		"inner": {"tcp other.internal:80 reverse_proxy"},
	} {
		tun, err := config.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range config.Uses(tun).Targets {
			got = append(got, w.Network+" "+w.Address+" "+w.By)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if names, err := config.Select([]string{"prod", "inner", "prod"}); err != nil || !slices.Equal(names, []string{"prod", "inner"}) {
		t.Errorf("selected %q, %v", names, err)
	}
	if _, err := config.Select([]string{"prdo"}); err == nil || err.Error() != `unknown tunnel "prdo"; configured: inner, prod` {
		t.Errorf("an unknown name: %v", err)
	}
	// What is resolved is the tunnel, and what it goes through.
	for name, want := range map[string][]string{"prod": {"prod"}, "inner": {"prod", "inner"}} {
		resolved, err := config.Resolve(name)
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

// TestResolveWarned: a tunnel comes with what Caddy warns of as it loads it.
func TestResolveWarned(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("SSH_AUTH_SOCK", "")
	ssh := sshtest.WriteFile(t, "ssh_config", []byte("Host b\nKnownHostsCommand /bin/true\nUserKnownHostsFile none\nGlobalKnownHostsFile none\n"))
	file := sshtest.WriteFile(t, "caddy.json", fmt.Appendf(nil, `{"apps": {"ssh_tunnel": {"tunnels": {"prod": {"ssh_config": {"alias": "b", "file": %q}}}}}}`, ssh))
	config, err := Load(file, "")
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := config.ResolveWarned("prod")
	if err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "KnownHostsCommand") }) {
		t.Errorf("warnings: %q", warnings)
	}
}

// TestLoadRefuses: a configuration has to be there, and has to have a tunnel.
func TestLoadRefuses(t *testing.T) {
	for content, want := range map[string]string{
		":80 {\n}\n":                   "no tunnel is configured",
		"{\nssh_tunnel {\nx\n}\n}\n":   "adapting config",
		"{\n\"apps\": {\"ssh_tunnel\"": "adapting config",
	} {
		if _, err := Load(sshtest.WriteFile(t, "Caddyfile", []byte(content)), ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
	t.Chdir(t.TempDir())
	if _, err := Load("", ""); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("without a file: %v", err)
	}
}
