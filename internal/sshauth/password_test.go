package sshauth

import (
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestEchoedPromptIsNotAnswered(t *testing.T) {
	a := New(&Config{}, nil, zap.NewNop())
	a.secret = "secret"
	if answers, err := a.answer("", []string{"Password:"}, []bool{true}); err == nil || answers != nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("answered %q, %v", answers, err)
	}
}
