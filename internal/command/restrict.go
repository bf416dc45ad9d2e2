package command

// restrict.go says as sshd(8) does, in authorized_keys, what a key may be used for.

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// nobody is the port that stands in permitopen and permitlisten for no port at all:
// without the option every port is permitted.
const nobody = "localhost:1"

// restriction is what a key is to be restricted to.
type restriction struct {
	opens, listens []string // the arguments of permitopen and permitlisten
	anyOpen        bool     // whether every target is needed, sockets included
	sockets        bool     // whether it listens on sockets, which no option restricts
	notes          []string // what is permitted beyond what is needed, and why
}

// restrict adds what a tunnel needs.
func (r *restriction) restrict(t *config.Resolved, used *uses) {
	for _, w := range used.targets {
		if target, err := t.Permission.Permit(w.Target); err == nil {
			r.opens = append(r.opens, openArgument(target.Network, target.Address))
		}
	}
	for _, unknown := range used.unknown {
		r.addUnknown(t, unknown)
	}
	for _, listen := range used.listens {
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
func (r *restriction) addUnknown(t *config.Resolved, unknown unknownTarget) {
	switch opens, wider, all := t.Permission.OpenSSH(); {
	case t.Permission.Restricts() && all:
		r.anyOpen = true
		r.note("permitopen is left out: nothing less than every target has a form there for %s of permit_open, which %s may need", strings.Join(wider, ", "), unknown.by)
	case t.Permission.Restricts():
		r.opens = append(r.opens, opens...)
		for _, pattern := range wider {
			r.note("permitopen has no form for %s of permit_open; what is written instead permits more", pattern)
		}
	case unknown.port != "":
		r.opens = append(r.opens, net.JoinHostPort("*", unknown.port))
		r.note("permitopen permits port %s of every host: the addresses of %s are not known before they are looked up; permit_open limits them", unknown.port, unknown.by)
	default:
		r.anyOpen = true
		r.note("permitopen is left out: the targets of %s are not known; set permit_open in tunnel %s to limit them", unknown.by, t.Config.Name)
	}
}

func (r *restriction) note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(r.notes, note) {
		r.notes = append(r.notes, note)
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

// options returns the options of a line of authorized_keys. restrict alone permits
// commands; command replaces them all, and Caddy runs none.
func (r *restriction) options() string {
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

func arguments(option string, values []string) (options []string) {
	if len(values) == 0 {
		values = []string{nobody}
	}
	for _, value := range values {
		options = append(options, option+`="`+strings.ReplaceAll(value, `"`, `\"`)+`"`)
	}
	return options
}

// keyLine returns a key as a line of authorized_keys without options, with a comment that
// names the tunnel.
func keyLine(key ssh.PublicKey, tunnelName string) string {
	return keystorage.AuthorizedKey(key) + " caddy-ssh-tunnel " + printable.Text(tunnelName)
}
