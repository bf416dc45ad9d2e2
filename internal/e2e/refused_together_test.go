//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// refusedLogin is what sshd logs of a client that it has let try, and not in.
var refusedLogin = regexp.MustCompile(`Connection (closed|reset) by authenticating user`)

// TestRefusedTogether has ten tunnels log in with a key that sshd does not take.
// It sees as many logins as of one, also after a reload has given them other names;
// and once it takes the key, a word from the operator to one brings all up.
func TestRefusedTogether(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	stranger := sshtest.NewKey()
	identity := "identity_file " + sshtest.WriteFile(t, "stranger", stranger.PEM(""))
	const tunnels = 10
	names := func(prefix string) (list []string) {
		for i := range tunnels {
			list = append(list, fmt.Sprint(prefix, i))
		}
		return list
	}
	config := func(c *caddy, names []string) string {
		var blocks, site strings.Builder
		for _, name := range names {
			blocks.WriteString(b.tunnelTo(name, "deploy@"+b.Addr(), identity))
			fmt.Fprintf(&site, "handle /%s/* {\nuri strip_prefix /%[1]s\nreverse_proxy web.internal:80 {\ntransport ssh_tunnel %[1]s\n}\n}\n", name)
		}
		return c.caddyfile(blocks.String(), "", site.String())
	}
	c := startCaddy(t, func(c *caddy) string { return config(c, names("first")) })
	logins := func() int { return len(refusedLogin.FindAllString(b.Log(), -1)) }
	ask := func(names []string) {
		for _, name := range names {
			if a := c.get("/" + name + "/hello"); a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
				t.Errorf("%s: %v", name, a)
			}
		}
	}
	const most = 4 // at once, and after 1, 3 and 6 seconds
	sshtest.Eventually(t, 2*patience, "sshd has refused the key four times", func() bool {
		ask(names("first"))
		return logins() >= most
	})
	c.reload(config(c, names("second")))
	for range 10 {
		ask(names("second"))
		time.Sleep(200 * time.Millisecond)
	}
	if n := logins(); n != most {
		t.Errorf("sshd has refused %d logins, want %d", n, most)
	}
	for _, name := range append(names("first"), names("second")...) {
		if !c.logged("connecting failed", "tunnel:"+name, "refused: publickey") {
			t.Errorf("the log does not say what is wrong with %s", name)
		}
	}

	if err := os.WriteFile(b.keys, []byte(b.identity.AuthorizedKey()+"\n"+stranger.AuthorizedKey()+"\n"), 0o644); err != nil { //nolint:gosec // public keys
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/ssh_tunnel/tunnels/second3/reconnect", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.admin.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	for _, name := range names("second") {
		sshtest.Eventually(t, patience, name+" serves", func() bool { return c.get("/"+name+"/hello").status == http.StatusOK })
	}
	if n := logins(); n != most {
		t.Errorf("sshd has refused %d logins in the end, want %d", n, most)
	}
}
