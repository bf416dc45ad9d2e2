package sshauth

import (
	"errors"
	"io/fs"

	"golang.org/x/crypto/ssh"
)

// PublicKeys returns the public keys of the identities, in the order in which they are
// written, except for generated ones. A passphrase is not needed where the file, or a .pub
// file beside it, shows the public key. Of the default files, and those of an ssh_config,
// those that do not exist are left out. The error joins those of identities that show none.
func (cfg *Config) PublicKeys() (keys []ssh.PublicKey, err error) {
	add := func(id identity, failed error) {
		switch {
		case id.public != nil:
			keys = append(keys, id.public)
		case !id.Default && !id.Optional || !errors.Is(failed, fs.ErrNotExist):
			err = errors.Join(err, failed)
		}
	}
	for _, f := range cfg.IdentityFiles {
		add(cfg.loadIdentity(f))
	}
	for n, given := range cfg.Identities {
		if given.Generated == "" {
			add(cfg.loadText(n))
		}
	}
	return keys, err
}
