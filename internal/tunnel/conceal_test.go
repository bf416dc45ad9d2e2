package tunnel

import (
	"errors"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// TestRepeated has peers say what they were told, at every point where what they
// say is shown.
func TestRepeated(t *testing.T) {
	const secret = "hunter2\x1b"
	said := "no, not " + secret + " at all"
	a := &authenticator{cfg: &Config{Name: "t", User: "u"}, secret: secret, allowed: []string{"password", said}}
	_, promptErr := a.answer(secret, []string{said}, []bool{true})
	core, logs := observer.New(zap.DebugLevel)
	if err := bannerLog(zap.New(core), a)(said); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"a prompt": promptErr.Error() + a.prompt, "the methods": a.message("", ""), "a disconnect": printable.Error(errors.New(said), a.secret).Error(),
		"a banner": logs.All()[0].ContextMap()["message"].(string),
	} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "…") {
			t.Errorf("%s: %q", what, text)
		}
	}
}
