package algorithms

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// negotiation.go says what to do where we and the bastion have no algorithm in
// common (RFC 4253 section 7.1).

// NegotiationError is returned by a connect when the bastion has none of the
// algorithms that one of the options lists.
type NegotiationError struct {
	// What there is none of in common, as in "cipher", and Offered what the
	// bastion has.
	What    string
	Offered []string
	// Option is the option that lists ours, or "" if none does.
	Option string
	// Fix is what would help.
	Fix string
}

func (e *NegotiationError) Error() string {
	return fmt.Sprintf("no %s in common: the bastion has only %s; %s", e.What, listed(e.Offered), e.Fix)
}

// negotiated are the options by what x/crypto says was negotiated, without the
// direction.
var negotiated = map[string]struct {
	what    string
	option  func(Lists) Option
	keyword string // sshd_config(5)'s
}{
	"key exchange": {"key exchange", Lists.KexOption, "KexAlgorithms"},
	"host key":     {"host key algorithm", Lists.HostKeyOption, "HostKeyAlgorithms"},
	"cipher":       {"cipher", Lists.CipherOption, "Ciphers"},
	"MAC":          {"MAC", Lists.MACOption, "MACs"},
}

// ExplainNegotiation returns what to do about a handshake's error, or nil if
// that is not one of algorithms.
func (l Lists) ExplainNegotiation(err error) *NegotiationError {
	none, ok := errors.AsType[*ssh.AlgorithmNegotiationError](err)
	if !ok {
		return nil
	}
	what := strings.TrimPrefix(strings.TrimPrefix(none.What, "client to server "), "server to client ")
	e := &NegotiationError{What: what}
	for _, name := range none.RequestedAlgorithms {
		if !strings.HasPrefix(name, "kex-strict-") && !strings.HasPrefix(name, "ext-info-") { // none of its algorithms
			e.Offered = append(e.Offered, printable.Text(name))
		}
	}
	about, ok := negotiated[what]
	if !ok { // compression, of which x/crypto has none
		e.Fix = fmt.Sprintf("no option can help: let it take %q as well", "none")
		return e
	}
	o := about.option(l)
	e.What, e.Option = about.what, o.Name
	update := "update the bastion, or let it take better ones with " + about.keyword
	good := e.of(o.Supported)
	switch bad := e.of(o.Insecure); {
	case len(good) > 0: // what is written leaves them out
		e.Fix = fmt.Sprintf("option %s leaves them out: add %s to it", o.Name, good[0])
	case len(bad) > 0:
		e.Fix = fmt.Sprintf("that is insecure: %s; if neither can be, it is taken with: %s %s", update, o.Name, bad[0])
	default:
		e.Fix = fmt.Sprintf("that is not supported, so no option can help: %s", update)
	}
	return e
}

// of returns those of a list that the bastion has, in its order.
func (e *NegotiationError) of(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return !slices.Contains(e.Offered, name) })
}

// listed is what the bastion has as an error shows it.
func listed(names []string) string {
	const most = 8
	switch n := len(names) - most; {
	case len(names) == 0:
		return "nothing"
	case n > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), n)
	default:
		return strings.Join(names, ", ")
	}
}
