package tunnel

import (
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// agreed.go is about what a connection has agreed on with the bastion, and what
// that leaves to be wished for.

// strictKex is what a server says that keeps to strict key exchange
// (draft-miller-sshm-strict-kex, in OpenSSH's PROTOCOL section 1.9).
const strictKex = "kex-strict-s-v00@openssh.com"

// Negotiated is what a connection has agreed on (RFC 4253 section 7.1).
type Negotiated struct {
	KeyExchange string `json:"key_exchange"`
	// PostQuantum tells whether the key exchange withstands quantum computers.
	PostQuantum bool `json:"post_quantum"`
	// StrictKex tells whether it is strict: nobody in the middle can have put
	// messages in before it, or taken the first ones after it away
	// (CVE-2023-48795).
	StrictKex bool   `json:"strict_kex"`
	HostKey   string `json:"host_key"`
	// Cipher and MAC protect what we send. MAC is empty where the cipher is one.
	Cipher string `json:"cipher"`
	MAC    string `json:"mac,omitempty"`
}

// agreed returns what a connection on the wire has agreed on.
func (w *wire) agreed(a ssh.NegotiatedAlgorithms) *Negotiated {
	return &Negotiated{
		KeyExchange: a.KeyExchange, PostQuantum: isPostQuantum(a.KeyExchange), StrictKex: w.strict.Load(),
		HostKey: a.HostKey, Cipher: a.Write.Cipher, MAC: a.Write.MAC,
	}
}

// isPostQuantum tells whether a key exchange algorithm withstands quantum
// computers, by itself or together with an older one.
func isPostQuantum(kex string) bool {
	return strings.Contains(kex, "mlkem") || strings.Contains(kex, "sntrup")
}

// noteGreeting finds out, when the first key exchange has just ended, what x/crypto
// does not tell: the server's version, whether the exchange was strict, for which
// x/crypto always asks, and the signature that was made with the server's key.
func (w *wire) noteGreeting(hostKey ssh.PublicKey) {
	data := w.preamble.end()
	version, init, err := parseGreeting(data)
	w.hostKey, w.signature = hostKey.Marshal(), hostKeySignature(data, hostKey)
	w.version = printable.Text(version)
	w.strict.Store(err == nil && slices.Contains(init.KexAlgorithms, strictKex))
}

// exposed tells whether somebody in the middle could take the first messages
// away unnoticed. With AES-GCM, and with a MAC that is not of the
// encrypt-then-MAC kind, they could not, strict or not.
func (n *Negotiated) exposed() bool {
	return !n.StrictKex && (strings.HasPrefix(n.Cipher, "chacha20") || strings.Contains(n.MAC, "-etm@"))
}

// inferior tells whether the bastion has no key exchange that withstands quantum
// computers. That it is not asked for one, or not before the others, is a choice
// of who wrote kex_algorithms.
func (cfg *Config) inferior(n *Negotiated) bool {
	ours := cfg.kexOption().names()
	best := slices.IndexFunc(ours, isPostQuantum)
	return !n.PostQuantum && best >= 0 && best < slices.Index(ours, n.KeyExchange)
}

// remark says what an operator should know of a bastion's algorithms, once for
// as long as there is a tunnel of the name: not at each reconnect and reload.
func (e *entry) remark(l *link) {
	n := l.attempt.Algorithms
	if n == nil {
		return
	}
	log, about := e.hostLog(l.host), zap.String("server", l.attempt.Server)
	if e.cfg.inferior(n) && e.tally.first("post-quantum "+l.host.cfg.Address) {
		log.Info("the bastion has no post-quantum key exchange: what is recorded today may be read once there are quantum computers; OpenSSH has one in common with us from 9.9 on",
			zap.String("kex", n.KeyExchange), about)
	}
	if n.exposed() && e.tally.first("strict "+l.host.cfg.Address) {
		log.Warn("the bastion has no strict key exchange, and neither aes128-gcm@openssh.com nor aes256-gcm@openssh.com: somebody in the middle could take its first messages away (CVE-2023-48795); update it",
			zap.String("cipher", n.Cipher), zap.String("mac", n.MAC), about)
	}
}
