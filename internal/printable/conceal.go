package printable

import "strings"

// conceal.go keeps secrets out of the log that a peer repeats: a proxy that repeats a
// login, a bastion whose next prompt has the password. It does not find one that the
// peer writes in another way.

// minConcealed is how long a secret has to be to be concealed. A shorter one is
// in most texts by chance.
const minConcealed = 4

// Conceal takes secrets out of a peer's text, before that is cut short.
func Conceal(text string, secrets ...string) string {
	for _, secret := range secrets {
		if len(secret) >= minConcealed {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}
