// generated.go offers the keys that Caddy generates ("identity auto").

package sshauth

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// KeyStore keeps the keys of "identity auto". It outlives the process, and several
// processes may share it. Its methods do I/O, return when their context ends, and may be
// called at the same time. The name is Identity.Generated.
type KeyStore interface {
	// LoginKeys returns the keys to offer under a name, in this order: the key, and before
	// it the one that is to replace it, if there is one. It generates the first key. It
	// generates none if it cannot tell whether there is one.
	LoginKeys(ctx context.Context, name string) ([]ssh.Signer, error)

	// StoredKeys is LoginKeys, except that it generates none: without a key, the error
	// wraps fs.ErrNotExist.
	StoredKeys(ctx context.Context, name string) ([]ssh.Signer, error)

	// Confirm notes that a login with a key has succeeded. It returns the key that this
	// one has replaced, and that is deleted now, or nil.
	Confirm(ctx context.Context, name string, key ssh.PublicKey) (removed ssh.PublicKey, err error)
}

// GeneratedName returns the name in a KeyStore of the key that Identities have, or "".
func (cfg *Config) GeneratedName() string {
	for _, id := range cfg.Identities {
		if id.Generated != "" {
			return id.Generated
		}
	}
	return ""
}

// generated returns the identity of a generated key.
func (cfg *Config) generated(signer ssh.Signer) identity {
	id := identity{option: "identity auto", source: "identity auto", public: signer.PublicKey()}
	id.signer, _ = signer.(ssh.AlgorithmSigner) // an Ed25519 key's is one
	// What the server said to the key that is there goes for the one that replaces it.
	id.rankedAs = string(cfg.Generated[len(cfg.Generated)-1].PublicKey().Marshal())
	return id
}

// UsedGenerated returns the generated key that let us in, after the handshake has
// succeeded, or nil.
func (a *Authenticator) UsedGenerated() ssh.PublicKey { return a.generatedOf(a.accepted()) }

// refusedGenerated returns the generated key to authorize, if the server has refused all
// that there are; else nil.
func (a *Authenticator) refusedGenerated() ssh.PublicKey {
	for _, signer := range a.cfg.Generated {
		blob := string(signer.PublicKey().Marshal())
		refused := false
		for _, t := range a.attempts {
			refused = refused || t.blob == blob && t.refused()
		}
		if !refused {
			return nil
		}
	}
	return a.generatedOf(a.attempts)
}

// generatedOf returns the first generated key that one of the attempts is with, or nil.
func (a *Authenticator) generatedOf(attempts []*attempt) ssh.PublicKey {
	for _, signer := range a.cfg.Generated {
		for _, t := range attempts {
			if t.blob == string(signer.PublicKey().Marshal()) {
				return signer.PublicKey()
			}
		}
	}
	return nil
}

// generatedFix says what helps where a generated key is what the server refuses, or where
// there is none yet; else "".
func (a *Authenticator) generatedFix() string {
	key, name := a.refusedGenerated(), a.cfg.GeneratedName()
	switch {
	case key != nil && a.cause() == failure.CauseKeyRefused:
		return a.authorizeFix(key)
	case name != "" && len(a.cfg.Generated) == 0 && a.cause() == failure.CauseNoCredentials:
		return fmt.Sprintf("run caddy ssh-tunnel public-key %s --install, which generates a key and adds it to the authorized_keys of %q on the bastion, or start Caddy, which generates it", name, a.cfg.User)
	default:
		return ""
	}
}

// authorizeFix says how the server is to accept a generated key.
func (a *Authenticator) authorizeFix(key ssh.PublicKey) string {
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(algorithms.PlainKey(key))))
	return fmt.Sprintf("add this line to the authorized_keys of %q on the bastion: %s; or run caddy ssh-tunnel public-key %s --install, which adds one that permits no more than the configuration needs",
		a.cfg.User, line, a.cfg.GeneratedName())
}
