package sshauth

import (
	"errors"
	"io/fs"

	"golang.org/x/crypto/ssh"
)

// FileKey is the public key of an identity file.
type FileKey struct {
	Path string
	Key  ssh.PublicKey
}

// FileKeys returns the public keys of the identity files, in the order in which a login
// offers them. A passphrase is not needed where the file, or a .pub file beside it, shows
// the public key. Of the default files, those that do not exist are left out. The error
// joins those of files that show none.
func (cfg *Config) FileKeys() (keys []FileKey, err error) {
	for _, f := range cfg.IdentityFiles {
		id, failed := cfg.loadIdentity(f)
		switch {
		case id.public != nil:
			keys = append(keys, FileKey{f.Path, id.public})
		case !f.Default || !errors.Is(failed, fs.ErrNotExist):
			err = errors.Join(err, failed)
		}
	}
	return keys, err
}
