package command

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

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
		"# not shown: not supported, or no key came: ssh-ed448\n# down:22: refused\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestCompleteTunnels completes the names of a configuration's tunnels.
func TestCompleteTunnels(t *testing.T) { // not at once with others: Caddy has one log
	file := sshtest.WriteFile(t, "caddy.json", []byte(`{"apps": {"ssh_tunnel": {"tunnels": {"prod": {"hosts": ["b"]}, "inner": {"hosts": ["b"]}}}}}`))
	names, directive := (&configFlags{file: file}).complete(nil, []string{"prod"}, "")
	if !slices.Equal(names, []string{"inner"}) || directive != cobra.ShellCompDirectiveNoFileComp {
		t.Errorf("it completes %q, %v", names, directive)
	}
}

// TestFlagsRefuse: what the flags of keyscan and check say has to make sense, and a tunnel
// be configured.
func TestFlagsRefuse(t *testing.T) {
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
func TestCheckSays(t *testing.T) { // not at once with others: Caddy has one log
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
