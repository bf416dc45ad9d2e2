package configfile

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

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
