package sshconfig

// match.go tells which Host and Match blocks match.

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// matchList reports whether s matches one of the patterns of a list, which are
// separated by commas, and none of those with a ! before them.
func matchList(s, list string) bool {
	var patterns []string
	for pattern := range strings.SplitSeq(list, ",") {
		if pattern != "" {
			patterns = append(patterns, pattern)
		}
	}
	return sshsyntax.MatchAny(patterns, s)
}

// matchHost is matchList for names of hosts, which have no case.
func matchHost(host, list string) bool {
	return matchList(strings.ToLower(host), strings.ToLower(list))
}

// criteria with an argument that are known, and whether they are looked at.
// What the others ask for has no answer here, or would have to be executed.
var criteria = map[string]bool{
	"host": true, "originalhost": true, "user": true, "localuser": true, "tagged": true,
	"exec": false, "localnetwork": false, "version": false, "command": false, "sessiontype": false,
}

// matchLine reports whether a Match line matches. A criterion that is not
// supported matches neither by itself nor negated; there is a warning only where
// all else on the line matches, unless quiet is set.
func (e *evaluation) matchLine(l line, quiet bool) (bool, error) {
	result := true
	unsupported := ""
	args := l.args
	if len(args) == 0 {
		return false, fmt.Errorf("%s: Match %w", l.pos, errNoArgument)
	}
	for count := 0; len(args) > 0; count++ {
		attribute, negated := strings.CutPrefix(args[0], "!")
		attribute, arg, hasArg := strings.Cut(attribute, "=")
		name := strings.ToLower(attribute)
		args = args[1:]

		var matched bool
		switch name {
		case "all":
			if count > 1 || len(args) > 0 || hasArg {
				return false, fmt.Errorf("%s: Match all stands alone, or after final", l.pos)
			}
			matched = true
		case "final", "canonical":
			if hasArg {
				return false, fmt.Errorf("%s: Match %s takes no argument", l.pos, attribute)
			}
			if name == "final" {
				e.wantFinal = true
			}
			matched = e.final
		default:
			if !hasArg {
				if len(args) == 0 {
					return false, fmt.Errorf("%s: Match %s has no argument", l.pos, attribute)
				}
				arg, args = args[0], args[1:]
			}
			if arg == "" && name != "tagged" && name != "command" {
				return false, fmt.Errorf("%s: Match %s has an empty argument", l.pos, attribute)
			}
			supported, known := criteria[name]
			if !known {
				return false, fmt.Errorf("%s: Match has an unknown criterion; ssh_config(5) has all, canonical, final, %s", l.pos, strings.Join(slices.Sorted(maps.Keys(criteria)), ", "))
			}
			if !supported {
				unsupported = attribute
				continue
			}
			matched = e.matchCriterion(name, arg)
		}
		if matched == negated {
			result = false
		}
	}
	if result && unsupported != "" && !quiet {
		e.reader.warn("match "+strings.ToLower(unsupported), "%s: Match %s is not supported: what it decides on is ignored", l.pos, unsupported)
	}
	return result && unsupported == "", nil
}

func (e *evaluation) matchCriterion(name, arg string) bool {
	switch name {
	case "host":
		return matchHost(e.hostSoFar(), arg)
	case "originalhost":
		return matchHost(e.alias, arg)
	case "user":
		return matchList(e.userSoFar(), arg)
	case "localuser":
		return matchList(e.reader.User, arg)
	default: // tagged
		tag := e.values.first("tag")
		return tag == arg || tag != "" && matchList(tag, arg)
	}
}
