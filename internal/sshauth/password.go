// password.go answers with the password: to the method of that name, or to a
// keyboard-interactive dialogue that asks for nothing else; see prompt.go.

package sshauth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
)

// password returns a method that sends the password, or nil.
func (a *Authenticator) password() ssh.AuthMethod {
	if !a.maySendPassword() {
		return nil
	}
	a.sent = true
	a.current = &attempt{what: "password", method: methodPassword, asked: true}
	return ssh.Password(a.secret)
}

// maySendPassword reports whether there is a password that may be sent. It is sent once a
// connect, by whichever method: bastions count wrong ones and ban for them.
func (a *Authenticator) maySendPassword() bool {
	if a.cfg.Password == "" || a.sent || a.trouble != "" {
		return false
	}
	secret, err := readfile.Secret("password", a.cfg.Password, a.cfg.Resolve)
	if err != nil {
		a.trouble = err.Error()
		return false
	}
	a.secret = secret
	return true
}

// converse returns the method keyboard-interactive, or nil. Without a password it
// answers a dialogue that asks for nothing, as that of a bastion which asks somebody's
// telephone. None follows a refused key then: whoever is asked would be asked again at
// each try.
func (a *Authenticator) converse() ssh.AuthMethod {
	what := "keyboard-interactive"
	switch {
	case a.dialogue:
		return nil
	case a.maySendPassword():
		what += " password"
	case a.cfg.Password != "" || a.wasRefused():
		return nil
	}
	a.dialogue = true
	a.current = &attempt{what: what, method: methodDialogue}
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
		current.asked = current.asked || a.sent
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
func (a *Authenticator) answer(about string, questions []string, echos []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil // a mere message
	}
	hidden := !slices.Contains(echos, true)
	questions = questions[:min(len(questions), maxPrompts)]
	kinds := make([]promptKind, len(questions))
	for i, question := range questions {
		kinds[i] = judgePrompt(question, about, append([]string{a.cfg.User}, a.cfg.Names...)...)
	}
	asked := a.Printable(strings.Join(questions, " "))
	switch {
	case hidden && slices.Contains(kinds, promptNew), a.sent && asksCurrent(questions[0]):
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
