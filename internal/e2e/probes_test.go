//go:build linux

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestServersThatDoNotAnswerProbes: Caddy stays connected to servers that do not
// answer keepalives as OpenSSH does, and a response that ends with its connection
// comes whole.
func TestServersThatDoNotAnswerProbes(t *testing.T) {
	t.Parallel()
	const (
		interval = time.Second
		most     = 10 // server_alive_count_max: a machine that does much at once may be late
		stay     = 12 * interval
		size     = 300_000
	)
	for _, reply := range []sshtest.KeepaliveReply{sshtest.KeepaliveUnimplemented, sshtest.KeepaliveIgnoreAll, sshtest.KeepaliveLate} {
		t.Run(string(reply), func(t *testing.T) {
			t.Parallel()
			p := sshtest.StartParamiko(t, sshtest.ParamikoOptions{Reply: reply})
			web := sshtest.NewWeb(t, sshtest.WebOptions{})
			c := startCaddy(t, func(c *caddy) string {
				tunnel := fmt.Sprintf("tunnel prod deploy@%s {\nhost_key %s\nidentity_file %s\nserver_alive_interval %s\nserver_alive_count_max %d\nconnections 1\n}\n",
					p.Addr(), p.HostKey.Fingerprint(), p.ClientKeyFile(), interval, most)
				return c.caddyfile(tunnel, "", "reverse_proxy "+web.Addr()+" {\ntransport ssh_tunnel prod\n}")
			})
			whole := func() {
				t.Helper()
				response, err := c.client.Get(fmt.Sprintf("http://127.0.0.1:%d/stream/%d?close", c.port, size))
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = response.Body.Close() }()
				got, err := io.ReadAll(response.Body)
				want, _ := io.ReadAll(io.LimitReader(sshtest.Body(), size))
				if response.StatusCode != http.StatusOK || err != nil || string(got) != string(want) {
					t.Errorf("a response that ends with its connection: %d, %d bytes of %d, %v", response.StatusCode, len(got), size, err)
				}
			}
			whole()
			since := time.Now()
			ws := c.websocket()
			ws.exchange("before")
			sshtest.Eventually(t, 2*stay, "the intervals pass", func() bool { return time.Since(since) > stay })
			ws.exchange("after")
			whole()
			if n := p.Logins(); n != 1 || strings.Contains(c.log(), `"msg":"connection lost`) {
				t.Errorf("%d logins, want 1, and no connection lost", n)
			}
		})
	}
}
