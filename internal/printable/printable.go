// Package printable makes a peer's text fit for logs and errors: printable, short,
// and without the secrets that the peer was sent. It does not interpret the text. It
// writes durations and numbers of bytes for people, too.
// Any package may import it; it imports none of the project's.
package printable

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Max is how much of a bastion's text is kept, in bytes.
const Max = 200

// Text keeps a server's text from writing into logs as it likes.
func Text(s string) string {
	s = s[:min(len(s), 4*Max)] // what is cut off need not be looked at
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if len(s) <= Max {
		return s
	}
	end := Max
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Line returns a text as one line that does not drive a terminal. Direction marks are not
// printable either: they could show a name as another one.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		default:
			return r
		}
	}, strings.ToValidUTF8(s, "?"))
}

// foreignError is an error whose text may be the bastion's, in part: that of a
// disconnect, for one.
type foreignError struct {
	text string
	err  error
}

// Error returns err with a text that is printable, and shows no secret that
// the bastion got.
func Error(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := Text(Conceal(err.Error(), secrets...))
	if text == err.Error() {
		return err
	}
	return &foreignError{text, err}
}

func (e *foreignError) Error() string { return e.text }
func (e *foreignError) Unwrap() error { return e.err }
