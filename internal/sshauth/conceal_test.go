package sshauth

import (
	"errors"
	"strings"
	"testing"
)

// TestRepeated: peers repeat what they got, at every point where what they
// say is shown.
func TestRepeated(t *testing.T) {
	const secret = "hunter2\x1b"
	said := "no, not " + secret + " at all"
	a := &Authenticator{cfg: &Config{User: "u"}, secret: secret, allowed: []string{"password", said}}
	_, promptErr := a.answer(secret, []string{said}, []bool{true})
	for what, text := range map[string]string{
		"a prompt": promptErr.Error() + a.prompt, "the methods": a.message("", ""), "a disconnect": a.PrintableError(errors.New(said)).Error(),
		"a banner": a.Printable(said),
	} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "…") {
			t.Errorf("%s: %q", what, text)
		}
	}
}
