package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// authorizedLine returns the line of authorized_keys that permits what a tunnel needs its
// key for, and no more.
func (c *commandConfig) authorizedLine(t *config.Resolved, key ssh.PublicKey) string {
	return c.restriction(t, key).options() + " " + keyLine(key, t.Config.Name)
}

// readOnlyKeys is a KeyStore that generates, replaces and deletes no key: a command that
// logs in may run as another user than Caddy.
type readOnlyKeys struct{ sshauth.KeyStore }

// LoginKeys implements sshauth.KeyStore.
func (k readOnlyKeys) LoginKeys(ctx context.Context, name string) ([]ssh.Signer, error) {
	keys, err := k.StoredKeys(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("Caddy has generated none yet; start it, or run caddy ssh-tunnel public-key %s", name) //nolint:staticcheck // a name
	}
	return keys, err
}

// Confirm implements sshauth.KeyStore.
func (readOnlyKeys) Confirm(context.Context, string, ssh.PublicKey) (ssh.PublicKey, error) {
	return nil, nil
}
