package tunnel

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
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

// TestProxyRepeatsLogin: neither its status nor what is no HTTP shows the login.
func TestProxyRepeatsLogin(t *testing.T) {
	login := base64.StdEncoding.EncodeToString([]byte("somebody:hunter2"))
	for _, answer := range []string{
		"HTTP/1.1 407 not somebody, hunter2 or " + login, "HTTP/1.1 403 not somebody, hunter2 or " + login,
		"HTTP/1.1 500 not somebody, hunter2 or " + login, "not somebody, hunter2 or " + login,
	} {
		ours, theirs := net.Pipe()
		go func() { // returns when the answer is read
			_, _ = theirs.Read(make([]byte, 1024))
			_, _ = io.WriteString(theirs, answer+"\r\n\r\n")
		}()
		err := connectHTTP(context.Background(), ours, "b:22", "somebody", "hunter2")
		_, _ = ours.Close(), theirs.Close()
		if err == nil || !strings.Contains(err.Error(), "not …, … or …") {
			t.Errorf("%q: got %v", answer, err)
		}
	}
}
