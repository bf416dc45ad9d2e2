package command

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// authorizedLine returns the line of authorized_keys that permits what a tunnel needs its
// key for, and no more.
func (c *commandConfig) authorizedLine(t *config.Resolved, key ssh.PublicKey) string {
	return c.restriction(t, key).Options() + " " + keyLine(key, t.Config.Name)
}

// keyLine returns a key as a line of authorized_keys without options, with a comment that
// names the tunnel.
func keyLine(key ssh.PublicKey, tunnelName string) string {
	return keystorage.AuthorizedKey(key) + " caddy-ssh-tunnel " + printable.Text(tunnelName)
}

// readOnlyKeys is a KeyStore that generates, replaces and deletes no key: a command that
// logs in may run as another user than Caddy.
type readOnlyKeys struct{ sshauth.KeyStore }

// LoginKeys implements sshauth.KeyStore. There may be none, which the error of the login
// says: the steps before it are of interest all the same.
func (k readOnlyKeys) LoginKeys(ctx context.Context, name string) ([]ssh.Signer, error) {
	keys, err := k.StoredKeys(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return keys, err
}

// Confirm implements sshauth.KeyStore.
func (readOnlyKeys) Confirm(context.Context, string, ssh.PublicKey) (ssh.PublicKey, error) {
	return nil, nil
}
