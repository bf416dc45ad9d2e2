// hostkeyorder.go says which host key algorithms a bastion is asked for.

package tunnel

import (
	"fmt"
	"slices"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// algorithms returns the host key algorithms to offer, best first. The bastion
// picks the first one that it has a key for, so those for which a key is known
// go first: otherwise it would show another of its keys. As with ssh, certificates
// go before plain keys. Where no authority is known, the plain key in one counts.
// There may be no algorithm that helps: see noAlgorithms.
func (h *hostKeys) algorithms() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	rank := func(algo string) int {
		keyType, isCert := algorithms.PlainKeyType(algo), algorithms.IsCertificate(algo)
		hasType := func(k knownKey) bool { return k.Type() == keyType }
		isKnown := slices.ContainsFunc(h.known.keys, hasType)
		switch {
		case isCert && len(h.known.authorities) > 0 && h.known.certificatesFirst:
			return 0
		case isKnown && isCert:
			return 1
		case isKnown:
			return 2
		case slices.Contains(h.mistaken, keyType):
			return 6
		case isCert && (len(h.known.authorities) > 0 || slices.ContainsFunc(h.known.bare, hasType)):
			return 3
		case isCert:
			return 5
		default:
			// Offered all the same: "another key" tells more than "no common
			// algorithm".
			return 4
		}
	}
	algos := slices.Clone(h.cfg.HostKeyOption().Names())
	slices.SortStableFunc(algos, func(a, b string) int { return rank(a) - rank(b) })
	return algos
}

// noAlgorithms returns an error if the only algorithms are those of certificates, and
// no key is known that could be in one, or have signed one.
func (h *hostKeys) noAlgorithms() error {
	if h.knowsAnything() || slices.ContainsFunc(h.algorithms(), func(algo string) bool { return !algorithms.IsCertificate(algo) }) {
		return nil
	}
	why := ""
	if h.unread != nil {
		why = " (" + h.unread.Error() + ")"
	}
	return fmt.Errorf("host_key_algorithms has certificates alone, and no authority of %q is known%s; add host_certificate_authority, a @cert-authority line, or the algorithms of plain keys",
		h.cfg.Address, why)
}
