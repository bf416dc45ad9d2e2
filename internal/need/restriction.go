package need

// restriction.go says what a key may be used for, in the words of sshd.

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
)

// nobody is the port that stands in permitopen and permitlisten for no port at all:
// without the option every port is permitted.
const nobody = "localhost:1"

// Restriction is what a key is to be restricted to. Its zero value permits nothing.
type Restriction struct {
	// Notes say what is permitted beyond what is needed, and why.
	Notes []string

	opens, listens []string // the arguments of permitopen and permitlisten
	anyOpen        bool     // whether every target is needed, sockets included
	sockets        bool     // whether it listens on sockets, which no option restricts
}

// Add adds what a tunnel needs.
func (r *Restriction) Add(t *config.Resolved, used *Uses) {
	for _, w := range used.Targets {
		if target, err := t.Permission.Permit(w.Target); err == nil {
			r.opens = append(r.opens, openArgument(target.Network, target.Address))
		}
	}
	for _, unknown := range used.Unknown {
		r.addUnknown(t, unknown)
	}
	for _, listen := range used.Listens {
		if listen.Network == "unix" {
			r.sockets = true
		} else {
			r.listens = append(r.listens, listen.Address)
		}
	}
	r.opens, r.listens = least(r.opens), least(r.listens)
}

// openArgument returns a target as an argument of permitopen. sshd compares a socket with
// the host.
func openArgument(network, address string) string {
	if network == "unix" {
		return "[" + address + "]:*"
	}
	return address
}

// addUnknown adds the targets that permit_open permits, for those that nobody knows yet.
func (r *Restriction) addUnknown(t *config.Resolved, unknown Unknown) {
	switch opens, wider, all := t.Permission.OpenSSH(); {
	case t.Permission.Restricts() && all:
		r.anyOpen = true
		r.Note("permitopen is left out: nothing less than every target has a form there for %s of permit_open, which %s may need", strings.Join(wider, ", "), unknown.By)
	case t.Permission.Restricts():
		r.opens = append(r.opens, opens...)
		for _, pattern := range wider {
			r.Note("permitopen has no form for %s of permit_open; what is written instead permits more", pattern)
		}
	case unknown.Port != "":
		r.opens = append(r.opens, net.JoinHostPort("*", unknown.Port))
		r.Note("permitopen permits port %s of every host: the addresses of %s are not known before they are looked up; permit_open limits them", unknown.Port, unknown.By)
	default:
		r.anyOpen = true
		r.Note("permitopen is left out: the targets of %s are not known; set permit_open in tunnel %s to limit them", unknown.By, t.Config.Name)
	}
}

// Note adds a note, once.
func (r *Restriction) Note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, note) {
		r.Notes = append(r.Notes, note)
	}
}

// least leaves out what others permit as well.
func least(arguments []string) []string {
	var kept []string
	for i, a := range arguments {
		if !slices.ContainsFunc(arguments[:i], func(b string) bool { return b == a }) &&
			!slices.ContainsFunc(arguments, func(b string) bool { return b != a && covers(b, a) }) {
			kept = append(kept, a)
		}
	}
	return kept
}

// covers reports whether an argument permits all that another does.
func covers(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	return (hostA == "*" || hostA == hostB) && (portA == "*" || portA == portB)
}

// Options returns the options of a line of authorized_keys (sshd(8)). restrict alone permits
// commands; command replaces them all, and Caddy runs none.
func (r *Restriction) Options() string {
	options := []string{"restrict"}
	dials, listens := r.anyOpen || len(r.opens) > 0, r.sockets || len(r.listens) > 0
	if dials || listens {
		options = append(options, "port-forwarding")
	}
	options = append(options, `command="/usr/sbin/nologin"`)
	switch {
	case !dials && !listens: // without port-forwarding, there is nothing to limit
		return strings.Join(options, ",")
	case !r.anyOpen:
		options = append(options, arguments("permitopen", r.opens)...)
	}
	return strings.Join(append(options, arguments("permitlisten", r.listens)...), ",")
}

// DropbearOptions is Options for Dropbear, which has fewer. It cannot limit where the key
// listens, and permitopen there has no patterns. beyond says what is permitted beyond what
// is needed for these reasons.
func (r *Restriction) DropbearOptions() (options string, beyond []string) {
	const never = `command="/usr/sbin/nologin"`
	if !r.anyOpen && len(r.opens) == 0 && !r.sockets && len(r.listens) == 0 {
		return "restrict," + never, nil
	}
	list := []string{"no-pty", "no-agent-forwarding", "no-X11-forwarding", never}
	beyond = []string{"Dropbear has no permitlisten: with the key, any port can be listened on there"}
	switch {
	case r.anyOpen:
	case slices.ContainsFunc(r.opens, func(open string) bool { return strings.Contains(open, "*") }):
		beyond = append(beyond, "permitopen is left out: Dropbear takes no patterns in it")
	default:
		list = append(list, arguments("permitopen", r.opens)...)
	}
	return strings.Join(list, ","), beyond
}

// IsDropbear reports whether a server is Dropbear, by its identification string.
func IsDropbear(server string) bool { return strings.HasPrefix(server, "SSH-2.0-dropbear") }

func arguments(option string, values []string) (options []string) {
	if len(values) == 0 {
		values = []string{nobody}
	}
	for _, value := range values {
		options = append(options, option+`="`+strings.ReplaceAll(value, `"`, `\"`)+`"`)
	}
	return options
}

// SSHDConfig returns the block of sshd_config(5) that permits an account to reach the
// targets that a key is restricted to, and nothing else. For sockets, too, sshd asks
// AllowTcpForwarding first.
func (r *Restriction) SSHDConfig(user string) string {
	sockets := "no"
	if slices.ContainsFunc(r.opens, func(open string) bool { return strings.HasPrefix(open, "[/") }) {
		sockets = "local"
	}
	if strings.ContainsAny(user, " #") {
		user = `"` + user + `"`
	}
	return fmt.Sprintf("Match User %s\n\tAllowTcpForwarding local\n\tPermitOpen %s\n\tAllowStreamLocalForwarding %s\n\tMaxSessions 0\n",
		user, strings.Join(r.opens, " "), sockets)
}
