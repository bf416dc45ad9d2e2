// password.go answers with the password: to the method of that name, or to a
// keyboard-interactive dialogue that asks for nothing else.

package tunnel

import (
	"errors"
	"fmt"
	"regexp"
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
	a.dialogue = true
	a.current = &authAttempt{what: "keyboard-interactive password", asked: true}
	current, rounds := a.current, 0
	return ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
		if rounds++; rounds > maxRounds {
			current.err = fmt.Errorf("the dialogue went on for more than %d rounds", maxRounds)
			return nil, current.err
		}
		answers, err := a.answer(secret, questions, echos)
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

// answer answers one round of a keyboard-interactive dialogue.
func (a *authenticator) answer(secret string, questions []string, echos []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil // a mere message
	}
	if len(questions) == 1 && !echos[0] && asksPassword(questions[0]) {
		if a.sent {
			return nil, errAskedAgain
		}
		a.sent = true
		return []string{secret}, nil
	}
	questions = questions[:min(len(questions), maxPrompts)]
	a.prompt = a.shown(strings.Join(questions, " "))
	return nil, fmt.Errorf("asked %q", a.prompt)
}

// passwordWords are what PAM's prompt for a password contains, in the languages
// that sshd may inherit from its machine's locale.
var passwordWords = []string{
	"password", "passwort", "mot de passe", "contraseña", "senha", "wachtwoord",
	"lösenord", "hasło", "heslo", "пароль", "密码", "密碼", "パスワード",
}

// otherSecret tells prompts that mention a password, but mean one that changes
// with time, or a new one. A wrong answer to them could lock the account.
var otherSecret = regexp.MustCompile(`(?i)\b(one[- ]?time|[th]?otp|2fa|mfa|verification|code|token|passcode|pin|duo|new|retype|again)\b`)

func asksPassword(prompt string) bool {
	lower := strings.ToLower(prompt)
	return slices.ContainsFunc(passwordWords, func(word string) bool { return strings.Contains(lower, word) }) &&
		!otherSecret.MatchString(prompt)
}
