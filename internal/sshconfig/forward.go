package sshconfig

// forward.go reads LocalForward, RemoteForward and DynamicForward, and what ssh
// takes behind -L, -R and -D: it is the same but for one colon.

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// Forward is what a LocalForward, RemoteForward or DynamicForward says.
type Forward struct {
	// Kind is 'L', 'R' or 'D'.
	Kind byte

	// Spec is what ssh would take behind -L, -R or -D.
	Spec string

	// Where is the file and line, as <file>:<line>.
	Where string
}

// Forwards are the forwards of a host.
type Forwards struct {
	// List is empty if ClearAllForwardings is set.
	List []Forward

	// GatewayPorts says that a forward without a bind address listens on all.
	GatewayPorts bool

	// SocketMask is StreamLocalBindMask, or nil.
	SocketMask *fs.FileMode

	// UnlinkSockets is StreamLocalBindUnlink.
	UnlinkSockets bool
}

// forwardKeywords are the keywords of forwards, by their kind.
var forwardKeywords = map[byte]string{'L': "localforward", 'R': "remoteforward", 'D': "dynamicforward"}

// forwards returns the forwards, in the order in which ssh opens them.
func (f *filler) forwards() (all Forwards) {
	all.GatewayPorts, _ = parseFlag(f.word("gatewayports"))
	all.UnlinkSockets, _ = parseFlag(f.word("streamlocalbindunlink"))
	all.SocketMask = pointer(f, "streamlocalbindmask", parseMask)
	if cleared, _ := parseFlag(f.word("clearallforwardings")); cleared {
		return all
	}
	for _, kind := range []byte("LDR") {
		for _, v := range f.e.values[forwardKeywords[kind]] {
			spec, err := expandForward(v.args, f.tokens)
			f.fail(v, err)
			all.List = append(all.List, Forward{kind, spec, v.pos})
		}
	}
	return all
}

// expandForward returns a forward as -L takes it, with the tokens of its
// sockets replaced.
func expandForward(args []string, known sshsyntax.Tokens) (string, error) {
	spec, err := sshsyntax.Tokens(nil).ExpandAll(strings.ReplaceAll(strings.Join(args, ":"), "%", "%%"))
	if err != nil || !strings.Contains(spec, "/") {
		return spec, err
	}
	return known.Expand(spec)
}

// ForwardField is one field of a forward. One with a slash is a path.
type ForwardField string

// IsPath reports whether the field is the path of a socket.
func (f ForwardField) IsPath() bool { return strings.Contains(string(f), "/") }

// SplitForward splits a forward at the colons that are not in brackets or behind a
// backslash.
func SplitForward(s string) ([]ForwardField, error) {
	var fields []ForwardField
	for {
		var field, rest string
		if inner, ok := strings.CutPrefix(s, "["); ok {
			if field, rest, ok = strings.Cut(inner, "]"); !ok {
				return nil, errors.New("a bracket is not closed")
			}
			if rest != "" && rest[0] != ':' {
				return nil, errors.New("expected a colon after the bracket")
			}
		} else {
			var ok bool
			if field, rest, ok = cutField(s); !ok {
				return nil, errors.New("a backslash at the end")
			}
		}
		fields = append(fields, ForwardField(field))
		if rest == "" {
			return fields, nil
		}
		s = rest[1:]
	}
}

// cutField cuts at the first colon, which rest then begins with.
func cutField(s string) (field, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ':':
			return b.String(), s[i:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), "", true
}

// forwardExamples say how each kind is written.
var forwardExamples = map[byte]string{
	'L': "LocalForward [<bind>:]<port> <host>:<hostport>, or with the path of a socket on either side",
	'R': "RemoteForward [<bind>:]<port> <host>:<hostport>, or with the path of a socket on either side",
	'D': "DynamicForward [<bind>:]<port>",
}

// checkForward refuses what ssh does not take for a forward.
func checkForward(kind byte) check {
	return func(args []string) error {
		if kind == 'L' && len(args) < 2 {
			return fmt.Errorf("no target; write %s", forwardExamples[kind])
		}
		spec, err := sshsyntax.Tokens(nil).ExpandAll(strings.ReplaceAll(strings.Join(args, ":"), "%", "%%"))
		if err != nil {
			return err
		}
		fields, err := SplitForward(strings.TrimLeft(spec, " \t"))
		if err != nil {
			return err
		}
		if !validForward(kind, len(args) == 1, fields) {
			return fmt.Errorf("not a forward; write %s", forwardExamples[kind])
		}
		return nil
	}
}

// validForward reports whether ssh takes these fields: a listener, and a target
// unless alone is set.
func validForward(kind byte, alone bool, fields []ForwardField) bool {
	n := len(fields)
	if n > 1 && fields[n-1] == "" {
		n-- // ssh ignores a colon at the end
	}
	port, target := -1, -1 // the fields of ports
	switch path := func(i int) bool { return fields[i].IsPath() }; {
	case n > 4:
		return false
	case n == 4:
		port, target = 1, 3
	case n == 3 && path(0):
		target = 2
	case n == 3 && path(2):
		port = 1
	case n == 3:
		port, target = 0, 2
	case alone && n == 2 && !path(1):
		port = 1
	case alone && path(0), n == 2 && path(0) && path(1):
	case alone, n == 2 && path(1):
		port = 0
	default:
		return false
	}
	if alone && n > 2 {
		return false
	}
	if target >= 0 {
		if _, err := parsePort(string(fields[target])); err != nil {
			return false
		}
	}
	if port < 0 {
		return true
	}
	_, err := parsePort(string(fields[port]))
	chosen := fields[port] != "" && strings.Trim(string(fields[port]), "0") == "" // by the server
	return err == nil || kind == 'R' && chosen
}

// parseMask reads the mode of sockets, in octal. What follows the digits, ssh
// ignores.
func parseMask(s string) (fs.FileMode, error) {
	s = strings.TrimPrefix(s, "+")
	digits := s[:len(s)-len(strings.TrimLeft(s, "01234567"))]
	n, err := strconv.ParseUint(digits, 8, 9)
	if err != nil {
		return 0, fmt.Errorf("%q is not an octal number up to 0777", s)
	}
	return fs.FileMode(n), nil
}
