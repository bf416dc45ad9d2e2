package command

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestCommandHops(t *testing.T) {
	t.Parallel()
	out := newOutput(io.Discard, &forwardFlags{})
	flags := forwardFlags{user: "me", port: "2222", jumps: "a@jump1,jump2:23", file: "none"}
	hops, err := flags.hops("server", out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hops {
		got = append(got, h.cfg.User+"@"+h.cfg.Address)
	}
	// As with ssh, -l and -p are the destination's.
	if want := "a@jump1:22 " + config.LoginName() + "@jump2:23 me@server:2222"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}

	for _, c := range []struct {
		flags       forwardFlags
		destination string
		want        string
	}{
		{forwardFlags{user: "me"}, "you@server", `another user than -l "me"`},
		{forwardFlags{port: "23"}, "server:22", "another port than -p 23"},
		{forwardFlags{port: "x"}, "server", `-p: port "x" is not`},
		{forwardFlags{jumps: "a,,b"}, "server", "jump"},
		{forwardFlags{}, "8008:web:80", "write the destination last"},
		{forwardFlags{noKey: true}, "server", "add --password"},
		{forwardFlags{noKey: true, password: true, identityFiles: []string{"/dev/null"}}, "server", "--no-key contradicts -i"},
		{forwardFlags{identityFiles: []string{"/nonexistent"}}, "server", `identity file "/nonexistent": no such file`},
	} {
		c.flags.file = "none"
		if _, err := c.flags.hops(c.destination, out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v %s: got %v, want %q", c.flags, c.destination, err, c.want)
		}
	}
}

// TestCommandKeepsAgent: -i does not keep the agent's keys back, --no-key does.
func TestCommandKeepsAgent(t *testing.T) {
	t.Parallel()
	file := sshtest.WriteFile(t, "id", sshtest.NewKey().PEM(""))
	hops, err := (&forwardFlags{identityFiles: []string{file}, file: "none"}).hops("server", newOutput(io.Discard, &forwardFlags{}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg := hops[0].cfg; cfg.IdentitiesOnly || cfg.IdentityAgent != "SSH_AUTH_SOCK" || len(cfg.IdentityFiles) != 1 {
		t.Errorf("with -i: %+v", cfg)
	}
	hops, err = (&forwardFlags{noKey: true, password: true, file: "none"}).hops("server", newOutput(io.Discard, &forwardFlags{}))
	if err != nil {
		t.Fatal(err)
	}
	if cfg := hops[0].cfg; cfg.IdentityAgent != "none" || len(cfg.IdentityFiles) != 0 {
		t.Errorf("with --no-key: %+v", cfg)
	}
}

func TestAppendKnownHost(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "home", ".ssh", "known_hosts")
	key := sshtest.NewKey()
	if err := appendKnownHost(path, "server", key.PublicKey()); err != nil {
		t.Fatal(err)
	}
	first := "server " + key.AuthorizedKey() + "\n"
	if got, _ := os.ReadFile(path); string(got) != first {
		t.Errorf("got %q, want %q", got, first)
	}
	// The line before it may have no end.
	if err := os.WriteFile(path, []byte(strings.TrimSpace(first)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := appendKnownHost(path, "[2001:db8::1]:2222", key.PublicKey()); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != first+"[2001:db8::1]:2222 "+key.AuthorizedKey()+"\n" {
		t.Errorf("got %q", got)
	}
}

// TestCommandLines: a client of a SOCKS proxy names a host as it likes.
func TestCommandLines(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	newOutput(&b, &forwardFlags{}).line("%s", "127.0.0.1:1080 -> server -> a\u009b2Jb:80")
	if got, want := b.String(), "127.0.0.1:1080 -> server -> a?2Jb:80\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCommandLog: what the tunnel logs is for people, and comes only once the
// command has started, unless it is verbose.
func TestCommandLog(t *testing.T) {
	t.Parallel()
	say := func(o *output) {
		log := o.logger.With(zap.String("tunnel", "server"), zap.String("address", "server:22"))
		log.Debug("banner")
		log.Info("connected", zap.String("user", "me"))
		log.Info("reconnected", zap.String("user", "me"))
		log.Warn("connection lost", zap.Error(os.ErrClosed))
	}
	for _, c := range []struct {
		flags forwardFlags
		want  string
	}{
		{forwardFlags{}, "server: reconnected\nserver: connection lost: file already closed (address server:22)\n"},
		{forwardFlags{quiet: true}, ""},
		{
			forwardFlags{verbose: true},
			strings.Repeat("server: banner (address server:22)\nserver: connected (address server:22, user me)\n"+
				"server: reconnected (address server:22, user me)\nserver: connection lost: file already closed (address server:22)\n", 2),
		},
	} {
		var b bytes.Buffer
		o := newOutput(&b, &c.flags)
		say(o)
		o.started()
		say(o)
		if b.String() != c.want {
			t.Errorf("%+v: got %q, want %q", c.flags, b.String(), c.want)
		}
	}
}

// TestCommandIdentity: -i takes the ~ that a shell leaves in quotes, and an encrypted
// key that nobody can be asked about is an error that says what helps.
func TestCommandIdentity(t *testing.T) {
	home := caddytest.SetHome(t)
	flags := &forwardFlags{identityFiles: []string{"~/.ssh/id_ed25519"}, file: "none"}
	hops, err := flags.hops("server", newOutput(io.Discard, flags))
	if err != nil {
		t.Fatal(err)
	}
	cfg := hops[0].cfg
	if path := filepath.Join(home, ".ssh", "id_ed25519"); cfg.IdentityFiles[0].Path != path {
		t.Errorf("got %+v", cfg.IdentityFiles)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	l := &login{output: newOutput(io.Discard, flags), passphrases: map[string]string{}}
	if err := l.unlock(t.Context(), &cfg); err != nil {
		t.Error(err)
	}
	cfg.IdentityFiles[0].Path = sshtest.WriteFile(t, "locked", sshtest.NewKey().PEM("horse"))
	if err := l.unlock(t.Context(), &cfg); err == nil || !strings.Contains(err.Error(), "run ssh-add "+cfg.IdentityFiles[0].Path) {
		t.Errorf("got %v", err)
	}
	cfg.IdentityFiles[0].Optional = true
	if err := l.unlock(t.Context(), &cfg); err != nil {
		t.Error(err)
	}
}
