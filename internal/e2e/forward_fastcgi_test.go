//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/fcgi"
	"syscall"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestForwardFastCGI kills the bastion's session while what stands for PHP-FPM
// sends a page through a local_forward. Caddy takes the end of a FastCGI
// connection for that of the page, so it must see no end, but a reset.
func TestForwardFastCGI(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "")
	page := bytes.Repeat([]byte("page\n"), 1000)
	never := make(chan struct{})
	l := b.netns.Listen("tcp", "127.0.0.1:9000")
	// Returns when the test has ended, which closes l.
	go func() {
		_ = fcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(page)
			if r.URL.Path == "/endless" {
				w.(http.Flusher).Flush()
				<-never
			}
		}))
	}()
	t.Cleanup(func() { close(never) })
	port := sshtest.NewPort(t)
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", fmt.Sprintf("local_forward %d web.internal:9000", port)), "",
			fmt.Sprintf("reverse_proxy %s {\nflush_interval -1\ntransport fastcgi\n}\n", local(port)))
	})
	sshtest.Eventually(t, patience, "a page comes", func() bool { return c.get("/").body == string(page) })

	body := c.open("/endless").Body
	if _, err := io.CopyN(io.Discard, body, int64(len(page))); err != nil {
		t.Fatal(err)
	}
	b.KillSessions(syscall.SIGKILL)
	if _, err := io.Copy(io.Discard, body); err == nil {
		t.Error("the client takes what came before the cut for the whole page")
	}
}
