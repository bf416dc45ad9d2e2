package tunnel

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLinesBeforeBanner: a server that says something before its banner, and ends
// the connection after it, is an SSH server all the same.
func TestLinesBeforeBanner(t *testing.T) {
	t.Parallel()
	cfg := configFor(t, sshtest.NewKey(), sshtest.NewKey().Fingerprint(), "b.example:22")
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe() // on which each write is read by itself
		go func() {
			defer theirs.Close()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			for _, line := range []string{strings.Repeat("welcome ", 20) + "\r\n", "SSH-2.0-x\r\n"} {
				_, _ = io.WriteString(theirs, line)
			}
		}()
		return ours, nil
	}
	h := open(t, cfg, quick())
	_, err := dialFor(t, h, "web:80", sshtest.Patience)
	if failure.CauseOf(err) != failure.CauseKeyExchange {
		t.Errorf("the cause is %q: %v", failure.CauseOf(err), err)
	}
	if _, err := connect.Scan(t.Context(), cfg, nil, 10*time.Second); failure.CauseOf(err) != failure.CauseKeyExchange {
		t.Errorf("of a scan the cause is %q: %v", failure.CauseOf(err), err)
	}
}
