// auth.go authenticates one connection: public keys first, then the password.

package tunnel

import (
	"errors"
	"io"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// authenticator is what one connect authenticates with. Files and the agent
// are read when the bastion asks for a key, so each connect sees new ones.
//
// The agent's connection is guarded by itself; all else belongs to the
// handshake, and to used and explain once that has ended.
type authenticator struct {
	cfg  *Config
	log  *zap.Logger
	link *agentLink // nil for no agent
	// memory is what the bastion said to earlier logins, or nil.
	memory *keyMemory
	// binding is what the agent is to know of the connection, or nil.
	binding *sessionBind

	began    bool         // the bastion has said which methods it takes
	allowed  []string     // what it said last
	partial  int          // methods that it accepted as a part of what it demands
	current  *authAttempt // in flight
	attempts []*authAttempt

	keys     *collector // nil until the bastion takes public keys
	nextKey  int
	sent     bool   // the password was sent, and not accepted so far
	dialogue bool   // keyboard-interactive was tried
	prompt   string // a prompt that the password does not answer
	expired  bool   // a new password is demanded
	trouble  string // why the password could not be used
	secret   string // the password, once it may have been sent

	exhausted bool // nothing is left to try
}

// authAttempt is one method tried with one key or password.
type authAttempt struct {
	what     string
	blob     string     // of its key, or ""
	doubt    string     // why the bastion may say no, or ""
	cert     credential // zero for no certificate
	rsa      bool       // with an RSA key
	dialogue bool       // keyboard-interactive
	asked    bool       // the bastion was asked
	accepted bool       // as a part of what it demands
	err      error      // what went wrong on our side
}

// refused tells whether the bastion said no.
func (t *authAttempt) refused() bool { return t.asked && !t.accepted && t.err == nil }

// newAuthenticator returns what authenticates one connection. Its close must
// be called.
func newAuthenticator(cfg *Config, log *zap.Logger) *authenticator {
	a := &authenticator{cfg: cfg, log: log}
	if path := cfg.agentPath(); path != "" {
		a.link = newAgentLink(path)
	}
	return a
}

// apply lets cc authenticate with a.
func (a *authenticator) apply(cc *ssh.ClientConfig) {
	cc.User = a.cfg.User
	// Not cc.Auth, of which only the first method of a kind is tried, and tried
	// once: a bastion may demand two keys, or a key, then a password.
	cc.AuthCallback = a.choose
}

// close ends the connection to the agent, and a call that waits for it. It may
// be called at any time, from any goroutine, and more than once.
func (a *authenticator) close() {
	if a.link != nil {
		a.link.close()
	}
}

// choose is an ssh.ClientAuthCallback: it returns what to try next, one key at
// a time, so that it is known which of them the bastion refused.
func (a *authenticator) choose(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	a.began = true
	a.allowed = ctx.AllowedMethods
	a.settle(len(ctx.PartialSuccessMethods))
	if a.link != nil {
		if closed, _ := a.link.state(); closed {
			return nil, errors.New("authentication was given up")
		}
	}
	methods := []func() ssh.AuthMethod{a.publicKey, a.withoutKey}
	if a.memory.withoutKeys() {
		slices.Reverse(methods)
	}
	for _, method := range methods {
		if m := method(); m != nil {
			return m, nil
		}
	}
	a.exhausted = true
	return nil, nil
}

// withoutKey returns a method other than publickey, or nil.
func (a *authenticator) withoutKey() ssh.AuthMethod {
	if a.cfg.Password != "" {
		return a.password()
	}
	return a.withoutPassword()
}

// settle notes how the attempt in flight has ended.
func (a *authenticator) settle(partial int) {
	if a.current != nil {
		a.current.accepted = partial > a.partial
		a.attempts = append(a.attempts, a.current)
		if a.current.accepted {
			a.sent = false // it was right: sending it again can do no harm
		}
		a.current = nil
	}
	a.partial = partial
}

func (a *authenticator) publicKey() ssh.AuthMethod {
	if !slices.Contains(a.allowed, "publickey") {
		return nil
	}
	if a.keys == nil {
		a.keys = &collector{cfg: a.cfg, log: a.log, link: a.link, memory: a.memory, binding: a.binding}
		a.keys.collect()
	}
	if a.nextKey == len(a.keys.offers) {
		return nil
	}
	offer := a.keys.offers[a.nextKey]
	a.nextKey++
	a.current = &authAttempt{what: offer.what, blob: offer.blob, doubt: offer.doubt, cert: offer.cert, rsa: plainKey(offer.signer.PublicKey()).Type() == ssh.KeyAlgoRSA}
	return ssh.PublicKeys(trackedSigner{offer.signer, a.current})
}

// accepted returns the attempts that let us in, after the handshake has succeeded.
func (a *authenticator) accepted() []*authAttempt {
	list := slices.DeleteFunc(slices.Clone(a.attempts), func(t *authAttempt) bool { return !t.accepted })
	if a.current != nil {
		list = append(list, a.current)
	}
	return list
}

// learn remembers for the next logins how this one has ended.
func (a *authenticator) learn(succeeded bool) {
	switch {
	case succeeded:
		a.memory.succeeded(a.accepted())
	case a.keys != nil:
		a.memory.failed(a.attempts, a.keys.all)
	}
}

// used says what the bastion accepted, after the handshake has succeeded: as in
// "publickey SHA256:… (/home/u/.ssh/id_ed25519) + password".
func (a *authenticator) used() string {
	var parts []string
	for _, t := range a.accepted() {
		parts = append(parts, t.what)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, " + ")
}

// certificates returns those that the bastion accepted, after the handshake has
// succeeded.
func (a *authenticator) certificates() []credential {
	var certs []credential
	for _, t := range a.accepted() {
		if t.cert.Certificate != nil {
			certs = append(certs, t.cert)
		}
	}
	return certs
}

// trackedSigner tells an attempt what becomes of its key.
type trackedSigner struct {
	ssh.MultiAlgorithmSigner
	attempt *authAttempt
}

// PublicKey implements ssh.Signer.
func (s trackedSigner) PublicKey() ssh.PublicKey {
	return trackedKey{s.MultiAlgorithmSigner.PublicKey(), s.attempt}
}

// SignWithAlgorithm implements ssh.AlgorithmSigner.
func (s trackedSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	sig, err := s.MultiAlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err == nil && sig.Format == ssh.KeyAlgoRSA && algorithm != ssh.KeyAlgoRSA {
		err = errors.New("the agent signs with SHA-1 only")
	}
	if err != nil {
		// As text: a lost agent must not look like a lost bastion.
		s.attempt.err = errors.New("signing: " + err.Error())
		return nil, s.attempt.err
	}
	return sig, nil
}

// trackedKey tells an attempt when its key is offered. Where key and bastion
// have no signature algorithm in common, it is not.
type trackedKey struct {
	ssh.PublicKey
	attempt *authAttempt
}

// Marshal implements ssh.PublicKey.
func (k trackedKey) Marshal() []byte {
	k.attempt.asked = true
	return k.PublicKey.Marshal()
}
