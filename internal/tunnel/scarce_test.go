//go:build unix

package tunnel

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// scarceEnv is set in a process that is to be out of files.
const scarceEnv = "CADDY_SSH_TUNNEL_SCARCE"

// TestOutOfFiles: a tunnel that is refused its own files for want of any is no
// tunnel that the bastion refuses: it goes on trying, and is back as soon as
// there are files again. The limit is a process's, so a process of its own has
// it.
func TestOutOfFiles(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	if os.Getenv(scarceEnv) == "" {
		t.Parallel()
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOutOfFiles$", "-test.v")
		c.Env = append(os.Environ(), scarceEnv+"=1")
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOutOfFiles") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	key := sshtest.NewKey()
	b := bastionFor(t, key, nil)
	cfg := configFor(t, key, "", b.Addr())
	cfg.HostKeys, cfg.KnownHosts = nil, []string{sshtest.WriteFile(t, "known_hosts", []byte(b.KnownHostsLine()+"\n"))}
	set := Settings{ReconnectMin: 10 * time.Millisecond, ReconnectMax: 50 * time.Millisecond}
	logs := observed(&set)

	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(l syscall.Rlimit) {
		t.Helper()
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
	}
	none := was
	none.Cur = 3
	limit(none)
	h := open(t, cfg, set)
	failures := logs.FilterMessage("connecting failed; will retry")
	sshtest.Eventually(t, 10*time.Second, "attempts have failed", func() bool {
		failures = logs.FilterMessage("connecting failed; will retry")
		return failures.Len() >= 5
	})
	for _, e := range failures.All() {
		about := e.ContextMap()
		if !strings.Contains(about["error"].(string), "too many open files") || about["cause"] != "configuration" || about["retry_in"].(time.Duration) > set.ReconnectMax {
			t.Errorf("%s: %v", e.Message, about)
		}
	}

	limit(was)
	sshtest.Eventually(t, 10*time.Second, "the tunnel is up", func() bool { return isUp(h) })
}
