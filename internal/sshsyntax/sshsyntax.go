// Package sshsyntax has what several of ssh's files share: the patterns and the tokens of
// ssh_config(5). It reads no file. Any package may import it.
package sshsyntax

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Match reports whether s matches a pattern (PATTERNS in ssh_config(5)): "*" is any number
// of characters, "?" is one. It takes time in proportion to the product of the lengths
// at most: patterns also come from certificates.
func Match(pattern, s string) bool {
	star, resume := -1, 0 // the last star, and where what follows it began
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // let the last star take one character more
			resume++
			p, i = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// MatchAny reports whether s matches one of the patterns, and none of those with a "!"
// before them.
func MatchAny(patterns []string, s string) bool {
	matched := false
	for _, p := range patterns {
		pattern, negated := strings.CutPrefix(p, "!")
		if !Match(pattern, s) {
			continue
		}
		if negated {
			return false
		}
		matched = true
	}
	return matched
}

// Tokens are what a "%" and the letter stand for (TOKENS in ssh_config(5)). "%%" is
// always a "%".
type Tokens map[byte]string

// Expand replaces tokens. One that is not known is an error.
func (t Tokens) Expand(s string) (string, error) {
	return t.expand(s, func(byte, string) error { return nil })
}

// ExpandForShell is Expand for a command that a shell reads. A name of a host or of a
// user that has characters with a meaning for a shell is an error. The names are refused
// that ssh refuses on its command line (ssh_valid_hostname and ssh_valid_ruser in
// OpenSSH's readconf.c).
func (t Tokens) ExpandForShell(s string) (string, error) {
	return t.expand(s, func(token byte, value string) error {
		valid := true
		switch token {
		case 'h', 'j', 'k', 'n':
			valid = validHost(value)
		case 'r':
			valid = validUser(value)
		}
		if !valid {
			return fmt.Errorf("%%%c is %q here, which means more than a name to a shell", token, value)
		}
		return nil
	})
}

func validHost(s string) bool {
	return !strings.HasPrefix(s, "-") && !strings.ContainsAny(s, "'`\"$\\;&<>|(){},") &&
		!strings.ContainsFunc(s, unicode.IsSpace) && !strings.ContainsFunc(s, unicode.IsControl)
}

func validUser(s string) bool {
	for i, r := range s {
		if unicode.IsSpace(r) && strings.HasPrefix(s[i+utf8.RuneLen(r):], "-") {
			return false
		}
	}
	return !strings.HasPrefix(s, "-") && !strings.HasSuffix(s, `\`) && !strings.ContainsAny(s, "'`\";&<>|(){}") &&
		!strings.ContainsFunc(s, unicode.IsControl)
}

// ExpandAll is Expand that also replaces ${NAME} by the environment's variable, whose
// value is taken as it is.
func (t Tokens) ExpandAll(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "${")
		expanded, err := t.Expand(before)
		if err != nil {
			return "", err
		}
		b.WriteString(expanded)
		if !found {
			return b.String(), nil
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed || name == "" {
			return "", errors.New("a ${ without its name and }")
		}
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		b.WriteString(value)
		s = rest
	}
}

// expand replaces tokens whose value check does not refuse.
func (t Tokens) expand(s string, check func(token byte, value string) error) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "%")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after == "" {
			return "", errors.New("a % at the end; write %% for one that is meant as such")
		}
		value, ok := t[after[0]]
		switch {
		case after[0] == '%':
			value = "%"
		case !ok:
			return "", fmt.Errorf("unknown token %%%c", after[0])
		}
		if err := check(after[0], value); err != nil {
			return "", err
		}
		b.WriteString(value)
		s = after[1:]
	}
}
