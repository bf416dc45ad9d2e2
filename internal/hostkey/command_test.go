//go:build unix

package hostkey

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// commanded is a Config with a script as its KnownHostsCommand, and the file to which
// that appends its arguments, a line for each run.
func commanded(t *testing.T, cfg *Config, script string) (*Config, string) {
	t.Helper()
	t.Setenv(subprocess.Allow, "1")
	runs := filepath.Join(t.TempDir(), "runs")
	file := sshtest.WriteFile(t, "script", fmt.Appendf(nil, "echo \"$*\" >> %s\n%s\n", runs, script))
	cfg.KnownHostsCommand = &Command{
		Args:   []string{"/bin/sh", file, "%I", "%H", "%t", "%f", "%K", "%T", "%h:%p", "%%${KNOWN_HOSTS_COMMAND_TEST}"},
		Tokens: sshsyntax.Tokens{'h': "b.example", 'p': "22"},
	}
	t.Setenv("KNOWN_HOSTS_COMMAND_TEST", "from-the-environment")
	return cfg, runs
}

// TestKnownHostsCommand: it is run before the key exchange and for the key that the server
// shows, as ssh does, and not at a rekey. Its lines count besides those of files.
func TestKnownHostsCommand(t *testing.T) {
	key, other := sshtest.NewKey(), sshtest.NewKey()
	line := sshtest.KnownHostsLine("b.example", key.PublicKey())
	cfg, runs := commanded(t, hostConfig(t, sshtest.KnownHostsLine("other.example", other.PublicKey())+"\n"), "echo '"+line+"'; echo not a line")
	v, err := verifyOnce(t, cfg, key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if source := v.Source(key.PublicKey()); source != "KnownHostsCommand:1" {
		t.Errorf("known by %q", source)
	}
	if err := v.verify(t.Context(), key.PublicKey()); err != nil {
		t.Error(err)
	}
	if err := v.verify(t.Context(), other.PublicKey()); err == nil {
		t.Error("another key is accepted at a rekey")
	}
	blob := base64.StdEncoding.EncodeToString(key.PublicKey().Marshal())
	want := []string{
		"ORDER b.example NONE NONE NONE NONE b.example:22 %from-the-environment",
		"HOSTNAME b.example ssh-ed25519 " + key.Fingerprint() + " " + blob + " NONE b.example:22 %from-the-environment", "",
	}
	if got, _ := os.ReadFile(runs); !slices.Equal(strings.Split(string(got), "\n"), want) {
		t.Errorf("it was run as\n%s\nwant\n%q", got, want)
	}
	if _, err := verifyOnce(t, cfg, other.PublicKey()); err == nil || !strings.Contains(err.Error(), "expected ssh-ed25519 "+key.Fingerprint()+" (KnownHostsCommand:1)") {
		t.Errorf("another key: %v", err)
	}
	if warnings, err := cfg.Check([]string{"b.example:22"}); err != nil || len(warnings) > 0 {
		t.Errorf("checked: %q, %v", warnings, err)
	}
	if got, _ := os.ReadFile(runs); strings.Count(string(got), "ORDER") != 2 {
		t.Errorf("a check has run it:\n%s", got)
	}
}

// TestKnownHostsCommandWarnsOnce: a line that is malformed both times that the command is
// executed for a connection is logged once.
func TestKnownHostsCommandWarnsOnce(t *testing.T) {
	key := sshtest.NewKey()
	cfg, _ := commanded(t, hostConfig(t, ""), "echo '"+sshtest.KnownHostsLine("b.example", key.PublicKey())+"'; echo malformed; [ $1 = ORDER ] || echo malformed")
	core, logs := observer.New(zap.WarnLevel)
	for n := 1; n <= 2; n++ {
		v, err := Load(t.Context(), cfg, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.verify(t.Context(), key.PublicKey()); err != nil {
			t.Fatal(err)
		}
		if got := logs.FilterMessageSnippet("KnownHostsCommand").Len(); got != 2*n {
			t.Errorf("after %d connections, %d warnings: %v", n, got, logs.All())
		}
	}
}

// TestKnownHostsCommandDecides: what it says, and that it fails.
func TestKnownHostsCommandDecides(t *testing.T) {
	key, other := sshtest.NewKey(), sshtest.NewKey()
	of := func(name string, key *sshtest.Key) string {
		return "echo '" + sshtest.KnownHostsLine(name, key.PublicKey()) + "'"
	}
	for name, c := range map[string]struct {
		address, known, script, err string
	}{
		"a file says it":             {known: sshtest.KnownHostsLine("b.example", key.PublicKey()), script: "true"},
		"a file says another":        {known: sshtest.KnownHostsLine("b.example", other.PublicKey()), script: of("b.example", key)},
		"nobody":                     {script: "true", err: "KnownHostsCommand for b.example;"},
		"another host":               {script: of("c.example", key), err: "is unknown"},
		"revoked":                    {known: sshtest.KnownHostsLine("b.example", key.PublicKey()), script: "printf '@revoked '; " + of("b.example", key), err: "is revoked"},
		"to revoke, and cannot":      {known: sshtest.KnownHostsLine("b.example", key.PublicKey()), script: "echo '@revoked b.example ssh-ed25519 x'", err: "known_hosts line KnownHostsCommand:1 is to revoke a key and cannot be read"},
		"it fails":                   {known: sshtest.KnownHostsLine("b.example", key.PublicKey()), script: of("b.example", key) + "; echo why >&2; exit 1", err: `KnownHostsCommand "/bin/sh" has ended (exit status 1, "why")`},
		"it fails for the name":      {script: of("b.example", key) + "; test $1 = ORDER", err: `KnownHostsCommand "/bin/sh" has ended (exit status 1)`},
		"only when asked for name":   {script: "test $1 = ORDER || " + of("b.example", key)},
		"only when asked for order":  {script: "test $1 = HOSTNAME || " + of("b.example", key), err: "is unknown"},
		"with the port":              {address: "b.example:2222", script: of("[b.example]:2222", key)},
		"without the port":           {address: "b.example:2222", script: of("b.example", key), err: "is unknown"}, // as for ssh
		"a file, without the port":   {address: "b.example:2222", known: sshtest.KnownHostsLine("b.example", key.PublicKey()), script: "true"},
		"another key, with the port": {address: "b.example:2222", known: sshtest.KnownHostsLine("b.example", key.PublicKey()), script: of("[b.example]:2222", other), err: "mismatch"},
	} {
		cfg, _ := commanded(t, hostConfig(t, c.known), c.script)
		if c.address != "" {
			cfg.Address = c.address
		}
		v, err := Load(t.Context(), cfg, zap.NewNop())
		if err == nil {
			err = v.verify(t.Context(), key.PublicKey())
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: got %v, want %q", name, err, c.err)
		}
		if err != nil && v != nil && v.Accepted() != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestKnownHostsCommandLearns: with accept-new, the first key is learned only if the command
// knows none, for the key that is shown.
func TestKnownHostsCommandLearns(t *testing.T) {
	key, other := sshtest.NewKey(), sshtest.NewKey()
	for script, want := range map[string]string{
		"true": "",
		"echo '" + sshtest.KnownHostsLine("b.example", other.PublicKey()) + "'":                          "mismatch",
		"test $1 = ORDER || echo '" + sshtest.KnownHostsLine("b.example", other.PublicKey()) + "'":       "mismatch",
		"test $1 = ORDER || echo '" + sshtest.KnownHostsLine("b.example", key.PublicKey()) + "'; exit 1": "has ended",
	} {
		m := newMemory()
		cfg, _ := commanded(t, hostConfig(t, ""), script)
		cfg.AcceptNewHostKey, cfg.Memory = true, m
		v, err := Load(t.Context(), cfg, zap.NewNop())
		if err == nil {
			err = v.verify(t.Context(), key.PublicKey())
		}
		if want == "" && (err != nil || len(m.keys) != 1) || want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(m.keys) > 0) {
			t.Errorf("%q: got %v, learned %v", script, err, m.keys)
		}
	}
}

// TestKnownHostsCommandHangs: the time for the connect ends it.
func TestKnownHostsCommandHangs(t *testing.T) {
	cfg, _ := commanded(t, hostConfig(t, ""), "sleep 1000")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, failure.ErrConnectTimeout)
	defer cancel()
	_, err := Load(ctx, cfg, zap.NewNop())
	if !errors.Is(err, failure.ErrConnectTimeout) || !strings.Contains(err.Error(), `KnownHostsCommand "/bin/sh" did not end in time (connect_timeout)`) {
		t.Errorf("got %v", err)
	}
}

// TestTrustLoopback: whoever answers at a loopback address is accepted, and nobody else.
func TestTrustLoopback(t *testing.T) {
	key, other := sshtest.NewKey(), sshtest.NewKey()
	known := sshtest.KnownHostsLine("b.example", other.PublicKey())
	tcp := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 22} }
	for name, c := range map[string]struct {
		trust  bool
		known  string
		remote net.Addr
		err    string
	}{
		"IPv4":         {true, known, tcp("127.0.0.1"), ""},
		"IPv6":         {true, known, tcp("::1"), ""},
		"mapped":       {true, known, tcp("::ffff:127.1.2.3"), ""},
		"not loopback": {true, known, tcp("192.0.2.1"), "mismatch"},
		"any":          {true, known, tcp("0.0.0.0"), "mismatch"},
		"no address":   {true, known, &net.UnixAddr{Name: "127.0.0.1", Net: "unix"}, "mismatch"},
		"not trusted":  {false, known, tcp("127.0.0.1"), "mismatch"},
		"revoked":      {true, "@revoked " + sshtest.KnownHostsLine("b.example", key.PublicKey()), tcp("127.0.0.1"), "revoked"},
	} {
		cfg := hostConfig(t, c.known+"\n")
		cfg.TrustLoopback = c.trust
		v := loadFor(t, cfg)
		verify := v.Callback(t.Context())
		err := verify("", c.remote, key.PublicKey())
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: got %v, want %q", name, err, c.err)
		}
		if err != nil {
			continue
		}
		if source := v.Source(key.PublicKey()); source != "NoHostAuthenticationForLocalhost: not checked" {
			t.Errorf("%s: known by %q", name, source)
		}
		if err := verify("", c.remote, other.PublicKey()); err == nil {
			t.Errorf("%s: another key is accepted at a rekey", name)
		}
	}
}

// TestUpdatesNotWhatACommandKnows: a key that KnownHostsCommand knows only once the server
// has shown it is not a learned one, whatever was learned before.
func TestUpdatesNotWhatACommandKnows(t *testing.T) {
	one, two := sshtest.NewKey().PublicKey(), sshtest.NewKey().PublicKey()
	for script, want := range map[string]bool{
		"true": true,
		"test $1 = ORDER || echo '" + sshtest.KnownHostsLine("b.example", one) + "'": false,
	} {
		m := newMemory()
		m.keys["b.example"] = []ssh.PublicKey{one}
		cfg, _ := commanded(t, hostConfig(t, ""), script)
		cfg.AcceptNewHostKey, cfg.UpdateHostKeys, cfg.Memory = true, true, m
		v, err := verifyOnce(t, cfg, one)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Updates(); got != want {
			t.Errorf("%s: updates: %t", script, got)
		}
		if v.Updates() { // as package connect does
			v.Update(t.Context(), announcement(one, two), Session{Prove: (&prover{}).prove})
		}
	}
}
