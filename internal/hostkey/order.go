// order.go says which host key algorithms a server is asked for (RFC 4253 section 7.1).

package hostkey

import (
	"fmt"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// Algorithms returns the host key algorithms to offer, best first. The server
// picks the first one that it has a key for, so those for which a key is known
// go first: otherwise it would show another of its keys. As with ssh, certificates
// go before plain keys. Where no authority is known, the plain key in one counts.
// There may be no algorithm that helps: see noAlgorithms.
func (v *Verifier) Algorithms() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	rank := func(algo string) int {
		keyType, isCert := algorithms.PlainKeyType(algo), algorithms.IsCertificate(algo)
		hasType := func(k knownKey) bool { return k.Type() == keyType }
		isKnown := slices.ContainsFunc(v.known.keys, hasType)
		switch {
		case isCert && len(v.known.authorities) > 0 && v.known.certificatesFirst:
			return 0
		case isKnown && isCert:
			return 1
		case isKnown:
			return 2
		case slices.Contains(v.mistaken, keyType):
			return 6
		case isCert && (len(v.known.authorities) > 0 || slices.ContainsFunc(v.known.bare, hasType)):
			return 3
		case isCert:
			return 5
		default:
			// Offered all the same: "another key" tells more than "no common
			// algorithm".
			return 4
		}
	}
	algos := slices.Clone(v.cfg.HostKeyOption().Names())
	slices.SortStableFunc(algos, func(a, b string) int { return rank(a) - rank(b) })
	return algos
}

// noAlgorithms returns an error if the only algorithms are those of certificates, and
// no key is known that could be in one, or have signed one.
func (v *Verifier) noAlgorithms() error {
	if v.knowsAnything() || slices.ContainsFunc(v.Algorithms(), func(algo string) bool { return !algorithms.IsCertificate(algo) }) {
		return nil
	}
	why := ""
	if v.unread != nil {
		why = " (" + v.unread.Error() + ")"
	}
	return fmt.Errorf("host_key_algorithms has certificates alone, and no authority of %q is known%s; add host_certificate_authority, a @cert-authority line, or the algorithms of plain keys",
		v.cfg.Address, why)
}
