package tunnel

import (
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":              "plain",
		" Kennwörter: ":      "Kennwörter:",
		"a\r\nb\x1b[31m":     "a  b [31m",
		"\u009b31m\u202ered": "31m red",
		"\xffx":              "?x",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	if got := printable("x" + strings.Repeat("ö", 1000)); len(got) > maxForeign+len("…") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// FuzzPrintable: whatever a bastion says is one short line.
func FuzzPrintable(f *testing.F) {
	f.Add("SSH-2.0-\x1b]0;owned\x07")
	f.Add("\xff\xc3" + strings.Repeat("ö", 200))
	f.Fuzz(func(t *testing.T, s string) { checkText(t, "a text", strings.ReplaceAll(printable(s), "\uFFFD", "")) })
}

func TestForeign(t *testing.T) {
	if foreign(nil) != nil || foreign(io.EOF) != io.EOF { //nolint:errorlint // identity
		t.Error("an error that is short and plain is another")
	}
	err := foreign(errors.Join(io.EOF, errors.New("\x1b[2J")))
	if !errors.Is(err, io.EOF) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %q", err)
	}
}
