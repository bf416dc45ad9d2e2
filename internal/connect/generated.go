package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// generated.go gets the keys of "identity auto", and says which of them lets in.

// confirmTimeout bounds what is to be noted after a login.
const confirmTimeout = 5 * time.Second

// errNoKeyStore is a tunnel with a generated key, and without a place for it.
var errNoKeyStore = errors.New("there is no storage to keep it in")

// loadGenerated gets the generated keys to log in with. Without them there is no login:
// what could not be read may be there.
func (c *Connector) loadGenerated(a *approach) error {
	name := c.cfg.Auth().GeneratedName()
	if name == "" {
		return nil
	}
	err := errNoKeyStore
	if store := c.state().KeyStore; store != nil {
		ctx, cancel := context.WithTimeout(a.parent, c.state().Timeout)
		defer cancel()
		a.generated, err = store.LoginKeys(ctx, name)
	}
	if err != nil {
		return failure.New(failure.ClassProtocol, failure.CauseConfiguration, fmt.Errorf("reading the key of identity auto: %w", err))
	}
	a.stamps = c.stamps(a.parent, a.host) // there may have been none before
	return nil
}

// confirmGenerated notes that a login with a generated key has succeeded, if that key is
// to replace another.
func (c *Connector) confirmGenerated(ctx context.Context, a *approach, auth *sshauth.Authenticator) {
	used := auth.UsedGenerated()
	if used == nil || len(a.generated) < 2 || ssh.FingerprintSHA256(used) != ssh.FingerprintSHA256(a.generated[0].PublicKey()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	removed, err := c.state().KeyStore.Confirm(ctx, c.cfg.Auth().GeneratedName(), used)
	log := c.log(a.host).With(zap.String("key", ssh.FingerprintSHA256(used)))
	switch {
	case err != nil:
		log.Warn("the replaced key of identity auto could not be deleted", zap.Error(err))
	case removed != nil:
		log.Info("replaced the key of identity auto; the old one is deleted", zap.String("removed", ssh.FingerprintSHA256(removed)))
	}
}

// generatedStamp changes when the generated keys do.
func (c *Connector) generatedStamp(ctx context.Context) string {
	name, store := c.cfg.Auth().GeneratedName(), c.state().KeyStore
	if name == "" || store == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	keys, err := store.StoredKeys(ctx, name)
	if err != nil {
		return "generated: unknown"
	}
	var stamp strings.Builder
	for _, key := range keys {
		stamp.WriteString(" generated: " + ssh.FingerprintSHA256(key.PublicKey()))
	}
	return stamp.String()
}
