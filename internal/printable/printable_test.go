package printable

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		" Kennwörter: ":      "Kennwörter:",
		"a\r\nb\x1b[31m":     "a  b [31m",
		"\u009b31m\u202ered": "31m red",
		"\xffx":              "?x",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Text("x" + strings.Repeat("ö", 1000)); len(got) > Max+len("…") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// FuzzText: whatever a bastion says is one short line.
func FuzzText(f *testing.F) {
	f.Add("SSH-2.0-\x1b]0;owned\x07")
	f.Add("\xff\xc3" + strings.Repeat("ö", 200))
	f.Fuzz(func(t *testing.T, s string) {
		text := Text(s)
		if len(text) > Max+len("…") || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != unicode.ReplacementChar }) {
			t.Errorf("got %q", text)
		}
	})
}

func TestError(t *testing.T) {
	if Error(nil) != nil || Error(io.EOF) != io.EOF { //nolint:errorlint // identity
		t.Error("an error that is short and plain is another")
	}
	err := Error(errors.Join(io.EOF, errors.New("\x1b[2J")))
	if !errors.Is(err, io.EOF) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %q", err)
	}
}
