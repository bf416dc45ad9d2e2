//go:build unix

package sshauth

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// scarceEnv is set in a process that is to be out of files.
const scarceEnv = "CADDY_SSH_TUNNEL_SCARCE_KEYS"

// TestOutOfFiles: a login that had no file to read a key with, or to ask the agent with,
// may succeed later. The limit is a process's, so a process of its own has it.
func TestOutOfFiles(t *testing.T) {
	if os.Getenv(scarceEnv) == "" {
		t.Parallel()
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutOfFiles$", "-test.v")
		c.Env = append(os.Environ(), scarceEnv+"=1")
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOutOfFiles") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	cfg := Config{IdentityFiles: []IdentityFile{{Path: sshtest.WriteFile(t, "id", sshtest.NewKey().PEM(""))}}}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was) }()
	auth := &Authenticator{cfg: &cfg, log: zap.NewNop()}
	auth.keys = &collector{cfg: &cfg, log: zap.NewNop()}
	auth.keys.collect()
	if len(auth.keys.offers) > 0 || !auth.Retryable() {
		t.Errorf("%d keys, may pass: %t; %v", len(auth.keys.offers), auth.Retryable(), auth.keys.skipped)
	}
	auth.keys = &collector{cfg: &Config{}, log: zap.NewNop(), link: newAgentLink("/nonexistent/agent")}
	auth.keys.collect()
	if !auth.Retryable() {
		t.Errorf("an agent that cannot be asked: %v", auth.keys.skipped)
	}
}
