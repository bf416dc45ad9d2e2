//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestForwardEndsProxyCommand: a ProxyCommand that ignores SIGTERM does not outlive the
// command that a signal ends.
func TestForwardEndsProxyCommand(t *testing.T) {
	t.Parallel()
	c := newCaddy(t)
	file := filepath.Join(t.TempDir(), "pid")
	hung := `ProxyCommand=sh -c "trap '' TERM; echo $$ >` + file + `.new; mv ` + file + `.new ` + file + `; while :; do sleep 1000; done"`
	cmd := c.command("ssh-tunnel", "forward", "-F", "none", "-o", hung, "8008:web:80", "deploy@bastion.example.com")
	cmd.Env = append(cmd.Env, "CADDY_SSH_TUNNEL_ALLOW_COMMANDS=1")
	stderr := filepath.Join(t.TempDir(), "stderr")
	process, err := sshtest.StartProcess(cmd, stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Kill)
	sshtest.Eventually(t, sshtest.Patience, "the start of the ProxyCommand", func() bool { _, err := os.Stat(file); return err == nil })
	pid, err := strconv.Atoi(strings.TrimSpace(read(file)))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-process.Exited
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("the ProxyCommand is still there\n%s", read(stderr))
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}
