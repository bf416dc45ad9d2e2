//go:build unix

package tunnel

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// behindWords is a server that says something, and is the other from then on.
func behindWords(t *testing.T, words, addr string) string {
	return listen(t, func(c net.Conn) {
		to, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer to.Close()
		_, _ = io.WriteString(c, words)
		go func() { // returns when c is closed
			_, _ = io.Copy(to, c)
			_ = to.Close()
		}()
		_, _ = io.Copy(c, to)
	})
}

// sshLogin reports whether ssh logs in with a Config's key, and what it says.
func sshLogin(t *testing.T, cfg Config, options ...string) (bool, string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(cfg.Address)
	args := []string{
		"-F", "none", "-T", "-p", port, "-i", cfg.IdentityFiles[0].Path, "-l", cfg.User, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
		"-o", "ConnectTimeout=10", "-o", "UpdateHostKeys=no", "-o", "GlobalKnownHostsFile=/dev/null",
	}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	out, err := exec.CommandContext(t.Context(), sshtest.Program(t, "ssh"), append(args, host, "true")...).CombinedOutput()
	return err == nil, string(out)
}

// TestLinesBeforeVersion logs in to a real sshd behind lines of text, where ssh
// does, and asks it for its host keys.
func TestLinesBeforeVersion(t *testing.T) {
	t.Parallel()
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	for name, words := range map[string]string{
		"none":               "",
		"short":              "welcome\r\n\r\n",
		"300":                strings.Repeat("x", 300) + "\r\n",
		"5000":               strings.Repeat("x", 5000) + "\n",
		"many of 5000":       strings.Repeat(strings.Repeat("x", 5000)+"\r\n", 100),
		"8192":               strings.Repeat("x", 8192) + "\r\n",
		"9000":               strings.Repeat("x", 9000) + "\r\n",
		"1023 lines":         strings.Repeat("line\n", 1023),
		"1024 lines":         strings.Repeat("line\n", 1024),
		"no version in SSH-": "SSH-\r\n",
		"colors":             "\x1b[31mbienvenüe\x1b[0m\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), behindWords(t, words, d.Addr()))
			cfg.User, cfg.Name = d.User, name
			want, said := sshLogin(t, cfg, "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
			h := open(t, cfg, quick())
			err := h.Connect(t.Context())
			if (err == nil) != want {
				t.Errorf("connected: %v; ssh: %v\n%s", err, want, said)
			}
			found, err := connect.Scan(t.Context(), cfg, nil, 10*time.Second)
			if (err == nil) != want {
				t.Errorf("scanned: %+v, %v; ssh: %v", found, err, want)
			}
			if !want {
				return
			}
			if a := h.Status().Connections[0]; !strings.HasPrefix(fmt.Sprint(a.Server), "SSH-2.0-OpenSSH") {
				t.Errorf("server %q", a.Server)
			}
		})
	}
}
