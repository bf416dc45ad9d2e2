package algorithms

import (
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestExposed: which connections somebody in the middle could take the first
// messages of away.
func TestExposed(t *testing.T) {
	for _, test := range []struct {
		strict      bool
		cipher, mac string
		exposed     bool
	}{
		{false, ssh.CipherAES128GCM, "", false},
		{false, ssh.CipherChaCha20Poly1305, "", true},
		{true, ssh.CipherChaCha20Poly1305, "", false},
		{false, ssh.CipherAES128CTR, ssh.HMACSHA256ETM, true},
		{true, ssh.CipherAES128CTR, ssh.HMACSHA256ETM, false},
		{false, ssh.CipherAES128CTR, ssh.HMACSHA256, false},
	} {
		n := &Negotiated{StrictKex: test.strict, Cipher: test.cipher, MAC: test.mac}
		if n.Exposed() != test.exposed {
			t.Errorf("%+v: exposed %v", n, n.Exposed())
		}
	}
}
