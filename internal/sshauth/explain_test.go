package sshauth

import (
	"errors"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestNoMethods: a bastion that names no method is said to take nothing, and a
// password that it was sent is what to look at.
func TestNoMethods(t *testing.T) {
	for sent, want := range map[bool]string{
		false: `authentication as "deploy" failed; allow publickey or password there`,
		true:  `authentication as "deploy" failed; check user and password`,
	} {
		a := New(&Config{User: "deploy"}, nil, zap.NewNop())
		a.sent = sent
		if got := a.message("", a.fix()); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestDialogueIsNoRefusal: a bastion that lists keyboard-interactive and has no
// questions refuses nothing of ours, so an agent that is empty is asked again soon.
func TestDialogueIsNoRefusal(t *testing.T) {
	t.Parallel()
	cfg := &Config{IdentityAgent: sshtest.StartAgent(t)}
	g := &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(1))}, prompts: []string{}}
	a := authFor(t, cfg)
	err := g.server(t).connect(t, a)
	sshtest.WantError(t, err, `authentication as "deploy" failed; not offered: agent at "`+cfg.IdentityAgent+`" has no key, or is locked (see ssh-add -l and ssh-add -X); the bastion takes publickey, keyboard-interactive; add a key to the agent with ssh-add, or unlock it with ssh-add -X; or add identity_file or password`)
	if refused, ok := errors.AsType[*failure.AuthError](err); !ok || refused.Cause != failure.CauseNoCredentials || !a.Retryable() {
		t.Errorf("got %v, may pass: %t", err, a.Retryable())
	}
}
