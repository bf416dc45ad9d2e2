package tunnel

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable.go has what a bastion says be no more than text: it goes into logs,
// which are read on terminals and by lines, and into errors.

// maxForeign is how much of a bastion's text is kept, in bytes.
const maxForeign = 200

// printable keeps a server's text from writing into logs as it likes.
func printable(s string) string {
	s = s[:min(len(s), 4*maxForeign)] // what is cut off need not be looked at
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if len(s) <= maxForeign {
		return s
	}
	end := maxForeign
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// foreignError is an error whose text may be the bastion's, in part: that of a
// disconnect, for one.
type foreignError struct {
	text string
	err  error
}

// foreign returns err with a text that is printable, and shows no secret that
// the bastion was told.
func foreign(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := printable(conceal(err.Error(), secrets...))
	if text == err.Error() {
		return err
	}
	return &foreignError{text, err}
}

func (e *foreignError) Error() string { return e.text }
func (e *foreignError) Unwrap() error { return e.err }
