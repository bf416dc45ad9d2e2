package tunnel

import (
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// strictKex is what a server says that keeps to strict key exchange
// (draft-miller-sshm-strict-kex, in OpenSSH's PROTOCOL section 1.9).
const strictKex = "kex-strict-s-v00@openssh.com"

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
