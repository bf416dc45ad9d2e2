package configfile

// uses.go finds out what a tunnel, and what its key, is needed for.

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Uses returns what the configuration uses a tunnel for. The bastions of tunnels that jump
// through it are targets, too.
func (c *Config) Uses(t *config.Resolved) *need.Uses {
	u := need.Find(c.raw, t)
	app, _ := c.decode()
	for _, name := range c.Tunnels {
		other := app.Tunnels[name]
		if other == nil || caddy.NewReplacer().ReplaceKnown(other.ProxyJump, "") != t.Config.Name {
			continue
		}
		var addresses []string
		if resolved, err := c.Resolve(name); err == nil {
			chain := resolved.Chain()
			at := slices.IndexFunc(chain, func(hop *config.Resolved) bool { return hop.Config.Name == t.Config.Name })
			addresses = chain[at+1].Config.Addresses()
		} else { // it is not in order; what is written may be
			for _, host := range other.Hosts {
				if bastion, err := hostport.ParseServer(host); err == nil {
					addresses = append(addresses, bastion.Address())
				}
			}
		}
		for _, address := range addresses {
			u.Add("proxy_jump of "+name, tunnel.Target{Network: "tcp", Address: address})
		}
	}
	return u
}

// Restriction returns what a key is needed for: by a tunnel, and by others that log in to
// the same bastion with it. sshd takes the options of the first line that has the key.
func (c *Config) Restriction(t *config.Resolved, key ssh.PublicKey) *need.Restriction {
	r := new(need.Restriction)
	r.Add(t, c.Uses(t))
	for _, name := range c.Tunnels {
		other, err := c.Resolve(name)
		if err != nil || name == t.Config.Name || other.Config.User != t.Config.User ||
			!slices.ContainsFunc(other.Config.Addresses(), func(a string) bool { return slices.Contains(t.Config.Addresses(), a) }) {
			continue
		}
		keys, _ := other.Config.Auth().PublicKeys()
		for _, k := range keys {
			if keystorage.AuthorizedKey(k) == keystorage.AuthorizedKey(key) {
				r.Add(other, c.Uses(other))
				r.Note("the line is for tunnel %s as well, which logs in there with the same key", name)
			}
		}
	}
	return r
}

// AuthorizedLine returns the line of authorized_keys, as a server with an identification
// string reads it, that permits what a tunnel needs its key for, and no more.
func (c *Config) AuthorizedLine(t *config.Resolved, key ssh.PublicKey, server string) string {
	r := c.Restriction(t, key)
	options := r.Options()
	if need.IsDropbear(server) {
		options, _ = r.DropbearOptions()
	}
	return options + " " + KeyLine(key, t.Config.Name)
}

// KeyLine returns a key as a line of authorized_keys without options, with a comment that
// names the tunnel.
func KeyLine(key ssh.PublicKey, tunnelName string) string {
	return keystorage.AuthorizedKey(key) + " caddy-ssh-tunnel " + printable.Text(tunnelName)
}
