// unlock.go decrypts private keys before a login, which one with many KDF rounds
// would not leave enough time.

package sshauth

import (
	"context"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// slowDecryption is how long a key may take to decrypt without a word.
const slowDecryption = time.Second

// Unlock decrypts the private keys that have a passphrase. Logins find them in keyfile's
// cache. It returns at the end of ctx at the latest.
func (cfg *Config) Unlock(ctx context.Context, log *zap.Logger) {
	if !slices.ContainsFunc(cfg.IdentityFiles, func(f IdentityFile) bool { return f.Passphrase != "" }) &&
		!slices.ContainsFunc(cfg.Identities, func(id Identity) bool { return id.Passphrase != "" }) {
		return
	}
	done := make(chan struct{})
	go func() { // returns when they are decrypted
		defer close(done)
		unlock := func(load func() (identity, error), from zap.Field) {
			slow := time.AfterFunc(slowDecryption, func() {
				log.Info("decrypting a private key, which takes long and is done once", from)
			})
			_, _ = load() // the login says what is wrong with it
			slow.Stop()
		}
		for _, file := range cfg.IdentityFiles {
			info, err := os.Stat(file.Path)
			if file.Passphrase == "" || err != nil || !info.Mode().IsRegular() { // to read a pipe takes the key away
				continue
			}
			unlock(func() (identity, error) { return cfg.loadIdentity(file) }, zap.String("path", file.Path))
		}
		for n, id := range cfg.Identities {
			if id.Passphrase != "" {
				unlock(func() (identity, error) { return cfg.loadText(n) }, zap.String("identity", textOption("identity", n, id.Text)))
			}
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
