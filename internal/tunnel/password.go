// password.go answers with the password: to the method of that name, or to a
// keyboard-interactive dialogue that asks for nothing else; see prompt.go.

package tunnel

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// password returns a method that sends the password, or nil. It is sent once a
// connect, by whichever method: bastions count wrong ones and ban for them.
func (a *authenticator) password() ssh.AuthMethod {
	method := slices.Contains(a.allowed, "password")
	dialogue := slices.Contains(a.allowed, "keyboard-interactive") && !a.dialogue
	if a.sent || !method && !dialogue {
		return nil
	}
	if a.trouble != "" {
		return nil
	}
	secret, err := a.cfg.secret("password", a.cfg.Password)
	if err != nil {
		a.trouble = err.Error()
		return nil
	}
	a.secret = secret
	if method {
		a.sent = true
		a.current = &authAttempt{what: "password", asked: true}
		return ssh.Password(secret)
	}
	return a.converse("keyboard-interactive password")
}

// withoutPassword returns a method that answers a keyboard-interactive dialogue
// which asks for nothing, as that of a bastion which asks somebody's telephone; or
// nil. No dialogue follows a refused key: whoever is asked would be asked again at
// each try.
func (a *authenticator) withoutPassword() ssh.AuthMethod {
	if a.dialogue || !slices.Contains(a.allowed, "keyboard-interactive") || a.wasRefused() {
		return nil
	}
	return a.converse("keyboard-interactive")
}

// converse returns the method keyboard-interactive (RFC 4256).
func (a *authenticator) converse(what string) ssh.AuthMethod {
	a.dialogue = true
	a.current = &authAttempt{what: what, asked: true, dialogue: true}
	current, rounds := a.current, 0
	return ssh.KeyboardInteractive(func(name, instruction string, questions []string, echos []bool) ([]string, error) {
		if rounds++; rounds > maxRounds {
			current.err = fmt.Errorf("the dialogue went on for more than %d rounds", maxRounds)
			return nil, current.err
		}
		answers, err := a.answer(name+"\n"+instruction, questions, echos)
		if !errors.Is(err, errAskedAgain) {
			current.err = err
		}
		return answers, err
	})
}

// maxRounds is how often a bastion may go on with a dialogue, and maxPrompts how
// many prompts of a round are looked at. PAM needs a few.
const (
	maxRounds  = 20
	maxPrompts = 32
)

// errAskedAgain ends a dialogue in which the password was refused.
var errAskedAgain = errors.New("asked for the password again")

// answer answers one round of a keyboard-interactive dialogue. about is what the
// bastion says before the questions.
func (a *authenticator) answer(about string, questions []string, echos []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil // a mere message
	}
	hidden := !slices.Contains(echos, true)
	questions = questions[:min(len(questions), maxPrompts)]
	kinds := make([]promptKind, len(questions))
	for i, question := range questions {
		kinds[i] = judgePrompt(question, about, a.cfg.names()...)
	}
	asked := a.shown(strings.Join(questions, " "))
	switch {
	case hidden && slices.Contains(kinds, promptNew):
		a.expired = true
		return nil, fmt.Errorf("asked %q", asked)
	case len(questions) > 1 || !hidden || kinds[0] != promptPassword:
		a.prompt = asked
		if a.sent {
			return nil, fmt.Errorf("asked %q after the password", asked)
		}
		return nil, fmt.Errorf("asked %q", asked)
	case a.sent:
		return nil, errAskedAgain
	case a.secret == "":
		return nil, fmt.Errorf("asked %q", asked)
	default:
		a.sent = true
		return []string{a.secret}, nil
	}
}

// names are names that a prompt may show, and that say nothing about what it asks
// for.
func (cfg *Config) names() []string {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		host = cfg.Address
	}
	label, _, _ := strings.Cut(host, ".")
	return []string{cfg.User, host, label, cfg.HostKeyAlias}
}
