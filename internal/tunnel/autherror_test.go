package tunnel

import (
	"testing"

	"go.uber.org/zap"
)

// TestNoMethods: a bastion that names no method is said to take nothing, and a
// password that it was sent is what to look at.
func TestNoMethods(t *testing.T) {
	for sent, want := range map[bool]string{
		false: `authentication as "deploy" failed; allow publickey or password there`,
		true:  `authentication as "deploy" failed; check user and password`,
	} {
		a := newAuthenticator(&Config{User: "deploy"}, zap.NewNop())
		a.sent = sent
		if got := a.message("", a.fix()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
