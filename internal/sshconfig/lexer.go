package sshconfig

// lexer.go takes a line apart.

import (
	"errors"
	"slices"
	"strings"
)

const blanks = " \t\r\n"

// directive is a line that says something.
type directive struct {
	keyword string   // in lower case
	written string   // the keyword as it is written, for messages
	args    []string // unquoted; at least one
	raw     string   // all that follows the keyword, for commands
}

// parseLine takes a line apart. It returns nil for one that is empty or a
// comment.
func parseLine(line string) (*directive, error) {
	line = strings.Trim(strings.TrimRight(line, blanks+"\f"), blanks)
	if line == "" || line[0] == '#' {
		return nil, nil
	}
	word, rest := cutKeyword(line)
	if word == "" {
		return nil, errors.New("no keyword")
	}
	d := &directive{keyword: strings.ToLower(word), written: word, raw: rest}
	var err error
	if d.args, err = splitArguments(rest); err != nil {
		return nil, err
	}
	if len(d.args) == 0 {
		return nil, errors.New(shownKeyword(word) + " has no argument")
	}
	return d, nil
}

// shownKeyword returns a keyword for a message. One that is not known is not shown
// where no keyword follows: whoever names a file of secrets, or a private key, in
// place of an ssh_config has no line of it in the log.
func shownKeyword(word string) string {
	name := strings.ToLower(word)
	if synonym, ok := synonyms[name]; ok {
		name = synonym
	}
	_, isTaken := taken[name]
	_, isNotTaken := notTaken[name]
	if isTaken || isNotTaken || slices.Contains(passedOver, name) || slices.Contains([]string{"host", "match", "include"}, name) {
		return word
	}
	return "an unknown keyword"
}

// cutKeyword cuts the keyword off, and the blanks and at most one = after it.
func cutKeyword(line string) (word, rest string) {
	if inner, ok := strings.CutPrefix(line, `"`); ok {
		word, rest, _ = strings.Cut(inner, `"`)
	} else if i := strings.IndexAny(line, blanks+`="`); i >= 0 {
		word, rest = line[:i], line[i:]
	} else {
		word = line
	}
	rest = strings.TrimLeft(rest, blanks)
	if after, ok := strings.CutPrefix(rest, "="); ok {
		rest = strings.TrimLeft(after, blanks)
	}
	return word, rest
}

// splitArguments splits at blanks, except in single or double quotes. A
// backslash takes the special meaning from a quote, a backslash, and outside
// quotes a space. A # at the beginning of an argument ends the line.
func splitArguments(s string) (args []string, err error) {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == '#' {
			return args, nil
		}
		var arg strings.Builder
		quote := byte(0)
		i := 0
		for ; i < len(s); i++ {
			c := s[i]
			if quote == 0 && (c == ' ' || c == '\t') {
				break
			}
			switch {
			case c == '\\' && i+1 < len(s) && (strings.IndexByte(`'"\`, s[i+1]) >= 0 || quote == 0 && s[i+1] == ' '):
				i++
				arg.WriteByte(s[i])
			case quote == 0 && (c == '"' || c == '\''):
				quote = c
			case quote != 0 && c == quote:
				quote = 0
			default:
				arg.WriteByte(c)
			}
		}
		if quote != 0 {
			return nil, errors.New("a quote is not closed")
		}
		args = append(args, arg.String())
		s = s[i:]
	}
}
