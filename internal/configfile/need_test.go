package configfile

import (
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// TestLeast: what another argument permits as well is left out.
func TestLeast(t *testing.T) {
	t.Parallel()
	uses := new(need.Uses)
	for _, address := range []string{"web:80", "*:80", "web:81", "db:80", "web:*", "/run/s", "[::1]:80", "[::1]:82"} {
		network := "tcp"
		if strings.HasPrefix(address, "/") {
			network = "unix"
		}
		uses.Add("test", tunnel.Target{Network: network, Address: address})
	}
	uses.Targets = append(uses.Targets, uses.Targets[2]) // web:81 twice
	restriction := new(need.Restriction)
	restriction.Add(new(config.Resolved), uses)
	got, _, _ := strings.Cut(restriction.Options(), `,permitlisten`)
	want := `restrict,port-forwarding,command="/usr/sbin/nologin",permitopen="*:80",permitopen="web:*",permitopen="[/run/s]:*",permitopen="[::1]:82"`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestSSHDConfigUser: a user of two words is one pattern.
func TestSSHDConfigUser(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{
		"deploy": "Match User deploy\n", "first last": "Match User \"first last\"\n", "#1": "Match User \"#1\"\n", `CORP\u`: "Match User CORP\\u\n",
	} {
		if got := new(need.Restriction).SSHDConfig(user); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", user, got, want)
		}
	}
}
