// Package sshsyntax has what several of ssh's files share: the patterns and the tokens of
// ssh_config(5). It reads no file. Any package may import it.
package sshsyntax

import (
	"errors"
	"fmt"
	"strings"
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
		b.WriteString(value)
		s = after[1:]
	}
}
