package algorithms

import (
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// agreed.go is about what a connection has agreed on with the bastion, and what
// that leaves to be wished for.

// Negotiated is what a connection has agreed on (RFC 4253 section 7.1).
type Negotiated struct {
	KeyExchange string `json:"key_exchange"`
	// PostQuantum reports whether the key exchange withstands quantum computers.
	PostQuantum bool `json:"post_quantum"`
	// StrictKex reports whether it is strict: nobody in the middle can have put
	// messages in before it, or taken the first ones after it away
	// (CVE-2023-48795).
	StrictKex bool   `json:"strict_kex"`
	HostKey   string `json:"host_key"`
	// Cipher and MAC protect what we send. MAC is empty where the cipher is one.
	Cipher string `json:"cipher"`
	MAC    string `json:"mac,omitempty"`
}

// Agreed returns what x/crypto has agreed on, in a key exchange that was strict or not.
func Agreed(a ssh.NegotiatedAlgorithms, strict bool) *Negotiated {
	return &Negotiated{
		KeyExchange: a.KeyExchange, PostQuantum: IsPostQuantum(a.KeyExchange), StrictKex: strict,
		HostKey: a.HostKey, Cipher: a.Write.Cipher, MAC: a.Write.MAC,
	}
}

// IsPostQuantum reports whether a key exchange algorithm withstands quantum
// computers, by itself or together with an older one.
func IsPostQuantum(kex string) bool {
	return strings.Contains(kex, "mlkem") || strings.Contains(kex, "sntrup")
}

// Exposed reports whether somebody in the middle could take the first messages
// away unnoticed. With AES-GCM, and with a MAC that is not of the
// encrypt-then-MAC kind, they could not, strict or not.
func (n *Negotiated) Exposed() bool {
	return !n.StrictKex && (strings.HasPrefix(n.Cipher, "chacha20") || strings.Contains(n.MAC, "-etm@"))
}

// Inferior reports whether the bastion has no key exchange that withstands quantum
// computers. That it is not asked for one, or not before the others, is a choice
// of who wrote kex_algorithms.
func (l Lists) Inferior(n *Negotiated) bool {
	ours := l.KexOption().Names()
	best := slices.IndexFunc(ours, IsPostQuantum)
	return !n.PostQuantum && best >= 0 && best < slices.Index(ours, n.KeyExchange)
}
