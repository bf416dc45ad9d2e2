// unlock.go decrypts private keys before a login, which one with many KDF rounds
// would not leave enough time.

package tunnel

import (
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
)

// slowDecryption is how long a key may take to decrypt without a word.
const slowDecryption = time.Second

// unlock decrypts the entry's private keys, for the login to find them in keyfile's
// cache. It returns at the end of the entry at the latest.
func (e *entry) unlock() {
	if !slices.ContainsFunc(e.cfg.IdentityFiles, func(f IdentityFile) bool { return f.Passphrase != "" }) {
		return
	}
	done := make(chan struct{})
	go func() { // returns when they are decrypted
		defer close(done)
		for _, file := range e.cfg.IdentityFiles {
			info, err := os.Stat(file.Path)
			if file.Passphrase == "" || err != nil || !info.Mode().IsRegular() { // to read a pipe takes the key away
				continue
			}
			slow := time.AfterFunc(slowDecryption, func() {
				e.log().Info("decrypting a private key, which takes long and is done once", zap.String("path", file.Path))
			})
			_, _ = e.cfg.loadIdentity(file) // the login says what is wrong with it
			slow.Stop()
		}
	}()
	select {
	case <-done:
	case <-e.ctx.Done():
	}
}

// slow warns of a key that took long to decrypt.
func (c *checker) slow(id identity) {
	if id.took <= slowDecryption {
		return
	}
	c.warn("identity_file %q took %s to decrypt; it stays decrypted in memory; ssh-keygen -p -a 16 -f %s makes it faster",
		id.Path, id.took.Round(100*time.Millisecond), keyfile.Shell(id.Path))
}

// agentHint says what an agent could do for an identity without a private half.
func (id *identity) agentHint() string {
	if id.public == nil {
		return ""
	}
	return fmt.Sprintf(`; %q has its public key: an agent that holds it could sign with it, if SSH_AUTH_SOCK or identity_agent named one`, id.publicPath())
}
