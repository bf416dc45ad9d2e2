package connect

import (
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestHostnames: no option takes a name that can be an option of a command, or another
// line of a proxy's protocol.
func TestHostnames(t *testing.T) {
	bad := []string{"-oProxyCommand=x", "-", "b\r\nX: y", "b\n", "\rb", "b\x00", "b\x1b[2J", "b\u0085"}
	for _, s := range bad {
		for what, edit := range map[string]func(*Config){
			"address":  func(c *Config) { c.Address = s + ":22" },
			"fallback": func(c *Config) { c.Fallbacks = []string{s + ":22"} },
			"zone":     func(c *Config) { c.Address = "[fe80::1%" + strings.ReplaceAll(s, "-", " ") + "]:22" },
			"user":     func(c *Config) { c.User = s },
			"alias":    func(c *Config) { c.HostKeyAlias = s },
			"proxy":    func(c *Config) { c.Proxy = &dial.Proxy{Scheme: "http", Address: s + ":3128"} },
		} {
			cfg := Config{Name: "test", Address: "b.example:22", User: "u", Password: "x", IdentityAgent: "none", HostKeys: []string{sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1)))}}
			edit(&cfg)
			if _, err := cfg.Check(); err == nil || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
				t.Errorf("%s %q: got %v", what, s, err)
			}
		}
	}
}
