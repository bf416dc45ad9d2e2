// auth.go authenticates one connection, with the methods in ssh's order.

package sshauth

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// Authenticator logs in on one connection. It reads the files and asks the agent
// when the server asks for a key, so each login sees new ones.
//
// Only Close may be called at any time. The other methods belong to the goroutine of the
// handshake until it has ended.
type Authenticator struct {
	cfg  *Config
	log  *zap.Logger
	link *agentLink // nil for no agent
	// memory is what the bastion said to earlier logins, or nil.
	memory *Memory
	// binding is what the agent is to know of the connection, or nil.
	binding *sessionBind

	began    bool     // the bastion has said which methods it takes
	allowed  []string // what it said last
	partial  int      // methods that it accepted as a part of what it demands
	current  *attempt // in flight
	attempts []*attempt

	keys     *collector // nil until the bastion takes public keys
	nextKey  int
	shownKey offer   // the last one
	unlisted []offer // of keys whose algorithms the bastion did not list
	sent     bool    // the password was sent, and not accepted so far
	dialogue bool    // keyboard-interactive was tried on this connection
	prompt   string  // a prompt that the password does not answer
	expired  bool    // a new password is demanded
	trouble  string  // why the password could not be used
	secret   string  // the password, once it may have been sent

	exhausted bool // nothing is left to try
}

// attempt is one method tried with one key or password.
type attempt struct {
	what     string
	method   string
	blob     string      // of its key, or ""
	doubt    string      // why the bastion may say no, or ""
	fix      string      // what helps against that, or ""
	cert     Certificate // zero for no certificate
	rsa      bool        // with an RSA key
	asked    bool        // the bastion was shown the key or sent the password
	accepted bool        // as a part of what it demands
	err      error       // what went wrong on our side
}

// refused reports whether the bastion said no.
func (t *attempt) refused() bool { return t.asked && !t.accepted && t.err == nil }

// The methods to authenticate with (RFC 4252 and RFC 4256), besides none.
const (
	methodPublicKey = "publickey"
	methodDialogue  = "keyboard-interactive"
	methodPassword  = "password"
)

// methodOrder is ssh's. Where PAM asks for more than the password, only a dialogue shows
// what: the method password fails there without a word.
var methodOrder = []string{methodPublicKey, methodDialogue, methodPassword}

// methods returns those to try, in order.
func (cfg *Config) methods() []string {
	switch {
	case cfg.PreferredAuthentications == nil:
		return methodOrder
	case cfg.Password == "":
		return cfg.PreferredAuthentications
	default:
		return append(slices.Clone(cfg.PreferredAuthentications), methodDialogue, methodPassword)
	}
}

// New returns an Authenticator for one connection. The caller closes it. memory is that
// of earlier logins at the server, or nil. What cannot be offered is logged to log.
func New(cfg *Config, memory *Memory, log *zap.Logger) *Authenticator {
	a := &Authenticator{cfg: cfg, memory: memory, log: log}
	if path := cfg.AgentPath(); path != "" {
		a.link = newAgentLink(path)
	}
	return a
}

// Apply sets the user and the AuthCallback of cc.
func (a *Authenticator) Apply(cc *ssh.ClientConfig) {
	cc.User = a.cfg.User
	// Not cc.Auth, of which only the first method of a kind is tried, and tried
	// once: a bastion may demand two keys, or a key, then a password.
	cc.AuthCallback = a.choose
}

// Close ends the connection to the agent, and a call that waits for it. It may
// be called at any time, by any goroutine, and more than once.
func (a *Authenticator) Close() {
	if a.link != nil {
		a.link.close()
	}
}

// choose is an ssh.ClientAuthCallback: it returns what to try next, one key at
// a time, so that it is known which of them the bastion refused.
func (a *Authenticator) choose(ctx *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	a.began = true
	a.allowed = ctx.AllowedMethods
	a.settle(len(ctx.PartialSuccessMethods))
	if a.link != nil && a.link.isClosed() {
		return nil, errors.New("authentication was given up")
	}
	methods := slices.Clone(a.cfg.methods())
	sort(a.memory, methods, func(method string) string { return method })
	for _, method := range methods {
		if !slices.Contains(a.allowed, method) {
			continue
		}
		if m := a.try(method); m != nil {
			return m, nil
		}
	}
	if m := a.unlistedKey(string(ctx.Metadata.ServerVersion())); m != nil {
		return m, nil
	}
	a.exhausted = true
	return nil, nil
}

// try returns what to try next of a method, or nil.
func (a *Authenticator) try(method string) ssh.AuthMethod {
	switch method {
	case methodPublicKey:
		return a.publicKey()
	case methodDialogue:
		return a.converse()
	default:
		return a.password()
	}
}

// settle notes how the attempt in flight has ended.
func (a *Authenticator) settle(partial int) {
	if a.current != nil {
		a.current.accepted = partial > a.partial
		a.attempts = append(a.attempts, a.current)
		if t := a.current; t.rsa && !t.asked && a.shownKey.signer.Algorithms()[0] != ssh.KeyAlgoRSA {
			a.unlisted = append(a.unlisted, a.shownKey)
		}
		if a.current.accepted {
			a.sent = false // it was right: sending it again can do no harm
		}
		a.current = nil
	}
	a.partial = partial
}

func (a *Authenticator) publicKey() ssh.AuthMethod {
	if a.keys == nil {
		a.keys = &collector{cfg: a.cfg, log: a.log, link: a.link, memory: a.memory, binding: a.binding}
		a.keys.collect()
	}
	if a.nextKey == len(a.keys.offers) {
		return nil
	}
	a.nextKey++
	return a.offer(a.keys.offers[a.nextKey-1], "")
}

// offer returns the method that shows a key to the bastion. As an algorithm that is
// not "", it does so even if the bastion does not list that.
func (a *Authenticator) offer(o offer, algorithm string) ssh.AuthMethod {
	a.shownKey = o
	a.current = &attempt{what: o.what, method: methodPublicKey, blob: o.blob, doubt: o.doubt, fix: o.fix, cert: o.cert, rsa: algorithms.PlainKey(o.signer.PublicKey()).Type() == ssh.KeyAlgoRSA}
	return ssh.PublicKeys(trackedSigner{o.signer, a.current, algorithm})
}

// unlistedKey offers RSA keys to sshd that it was not shown, since it lists none of
// their algorithms (RFC 8308 section 3.1). It does so before it knows the user: what
// a Match block accepts it lists later, to clients that ask for it with
// ext-info-in-auth@openssh.com. x/crypto does not.
func (a *Authenticator) unlistedKey(server string) ssh.AuthMethod {
	if len(a.unlisted) == 0 || !slices.Contains(a.allowed, methodPublicKey) || !strings.Contains(server, "OpenSSH_") {
		return nil
	}
	o := a.unlisted[0]
	a.unlisted = a.unlisted[1:]
	algorithm := o.signer.Algorithms()[0]
	if o.cert.Certificate != nil {
		algorithm = algorithms.Certificate(algorithm)
	}
	a.attempts = slices.DeleteFunc(a.attempts, func(t *attempt) bool { return t.blob == o.blob })
	o.doubt += ", whose algorithms the bastion does not list"
	return a.offer(o, algorithm)
}

// accepted returns the attempts that let us in, after the handshake has succeeded.
func (a *Authenticator) accepted() []*attempt {
	list := slices.DeleteFunc(slices.Clone(a.attempts), func(t *attempt) bool { return !t.accepted })
	if a.current != nil {
		list = append(list, a.current)
	}
	return list
}

// Learn records in the Memory how the login has ended: what was accepted if it succeeded,
// else what was refused. Explain, if it is called, comes first.
func (a *Authenticator) Learn(succeeded bool) {
	if succeeded {
		a.memory.succeeded(a.accepted())
		return
	}
	var offers []offer
	if a.keys != nil {
		offers = a.keys.all
	}
	a.memory.failed(a.attempts, offers)
}

// Used returns what the server accepted, after the handshake has succeeded: as in
// "publickey SHA256:… (/home/u/.ssh/id_ed25519) + password".
func (a *Authenticator) Used() string {
	var parts []string
	for _, t := range a.accepted() {
		parts = append(parts, t.what)
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, " + ")
}

// Certificates returns the certificates that the server accepted, after the handshake
// has succeeded.
func (a *Authenticator) Certificates() []Certificate {
	var certs []Certificate
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
	attempt   *attempt
	algorithm string // the only one that it is offered as, or ""
}

// PublicKey implements ssh.Signer.
func (s trackedSigner) PublicKey() ssh.PublicKey {
	return trackedKey{s.MultiAlgorithmSigner.PublicKey(), s.attempt, s.algorithm}
}

// SignWithAlgorithm implements ssh.AlgorithmSigner.
func (s trackedSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	sig, err := s.MultiAlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
	if err == nil && sig.Format == ssh.KeyAlgoRSA && algorithm != ssh.KeyAlgoRSA {
		err = errors.New("the agent signs with SHA-1 only")
	} else if err != nil {
		s.attempt.fix = fixAgentSigns
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
	attempt   *attempt
	algorithm string
}

// Type implements ssh.PublicKey. From a key's type x/crypto derives the algorithms
// that it tries: from that of an algorithm, it alone.
func (k trackedKey) Type() string { return cmp.Or(k.algorithm, k.PublicKey.Type()) }

// Marshal implements ssh.PublicKey.
func (k trackedKey) Marshal() []byte {
	k.attempt.asked = true
	return k.PublicKey.Marshal()
}
