package autokey

import (
	"context"

	"golang.org/x/crypto/ssh"
)

// LoginKeys returns the keys of a tunnel in the order in which a login offers them, and
// generates the first one, as LoadOrCreate does.
func (s Storage) LoginKeys(ctx context.Context, tunnel string) ([]ssh.Signer, error) {
	keys, err := s.LoadOrCreate(ctx, tunnel)
	return keys.signers(), err
}

// StoredKeys is LoginKeys, except that it generates none. Without any, the error wraps
// fs.ErrNotExist.
func (s Storage) StoredKeys(ctx context.Context, tunnel string) ([]ssh.Signer, error) {
	keys, err := s.Load(ctx, tunnel)
	return keys.signers(), err
}

// signers returns the keys in the order in which they are offered.
func (k Keys) signers() (signers []ssh.Signer) {
	for _, key := range []*Key{k.Next, k.Current} {
		if key != nil {
			signers = append(signers, key.Signer())
		}
	}
	return signers
}
