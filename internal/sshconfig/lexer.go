package sshconfig

// lexer.go takes a line apart.

import (
	"errors"
	"fmt"
	"strings"
)

const blanks = " \t\r\n"

// directive is a line that says something.
type directive struct {
	keyword string   // in lower case
	written string   // the keyword as it is written, for messages
	args    []string // unquoted; none if a comment takes their place
	raw     string   // all that follows the keyword, for commands
}

// parseLine takes a line apart. It returns nil for one that is empty or a
// comment.
func parseLine(line string) (*directive, error) {
	if line != "" {
		line = line[:1] + strings.TrimRight(line[1:], blanks+"\f") // as ssh does
	}
	word, rest := cutKeyword(line)
	if word == "" {
		word, rest = cutKeyword(rest) // there are blanks before it
	}
	if word == "" || word[0] == '#' {
		return nil, nil
	}
	d := &directive{keyword: strings.ToLower(word), written: word, raw: rest}
	if rest == "" {
		return nil, fmt.Errorf("%s has no argument", shownKeyword(word))
	}
	var err error
	d.args, err = splitArguments(rest, true)
	return d, err
}

// shownKeyword returns a keyword for a message. One that is not known is not shown
// where no keyword follows: whoever names a file of secrets, or a private key, in
// place of an ssh_config has no line of it in the log.
func shownKeyword(word string) string {
	if _, known := canonicalName(word); known {
		return word
	}
	if similar := similarKeyword(word); similar != "" {
		return fmt.Sprintf("an unknown keyword, perhaps %s,", similar)
	}
	return "an unknown keyword"
}

// cutKeyword cuts the keyword off, and the blanks and at most one = after it.
func cutKeyword(line string) (word, rest string) {
	i := strings.IndexAny(line, blanks+`="`)
	if i < 0 {
		return line, ""
	}
	word, rest = line[:i], line[i+1:]
	if line[i] == '"' {
		// ssh reads on to the next quote, and ignores a line without one.
		quoted, after, closed := strings.Cut(rest, `"`)
		if !closed {
			return "", ""
		}
		return word + quoted, strings.TrimLeft(after, blanks)
	}
	rest = strings.TrimLeft(rest, blanks)
	if after, ok := strings.CutPrefix(rest, "="); ok && line[i] != '=' {
		rest = strings.TrimLeft(after, blanks)
	}
	return word, rest
}

// splitArguments splits at blanks, except in single or double quotes. A
// backslash takes the special meaning from a quote, a backslash, and outside
// quotes a space. A # at the beginning of an argument ends the line, if there are
// comments.
func splitArguments(s string, comments bool) (args []string, err error) {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || comments && s[0] == '#' {
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
