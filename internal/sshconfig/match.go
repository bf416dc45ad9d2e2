package sshconfig

// match.go tells which Host and Match blocks match.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
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

// criteria are those with an argument.
var criteria = []string{"command", "exec", "host", "localnetwork", "localuser", "originalhost", "sessiontype", "tagged", "user", "version"}

// sshVersion is what Match version is compared with: the version of OpenSSH whose keywords
// are known here.
const sshVersion = "OpenSSH_10.5p1"

// matchLine reports whether a Match line matches. Where commands are not allowed, exec
// matches neither by itself nor negated; there is a warning only where all else on the
// line matches. If never is set, the line is only checked.
func (e *evaluation) matchLine(l line, never bool) (bool, error) {
	result, forbidden := true, false
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
			if !slices.Contains(criteria, name) {
				return false, fmt.Errorf("%s: Match has an unknown criterion; ssh_config(5) has all, canonical, final, %s", l.pos, strings.Join(criteria, ", "))
			}
			if name == "exec" && (e.reader.Exec == nil || never || !result) {
				forbidden = forbidden || e.reader.Exec == nil
				continue
			}
			var err error
			if matched, err = e.matchCriterion(name, arg); err != nil {
				return false, fmt.Errorf("%s: Match %s: %w", l.pos, attribute, err)
			}
		}
		if matched == negated {
			result = false
		}
	}
	if result && forbidden && !never {
		e.reader.warn("match exec", "%s: Match exec is ignored, with what it decides on: %v", l.pos, subprocess.ErrForbidden)
	}
	return result && !forbidden, nil
}

// matchCriterion reports whether a criterion matches, in the place of ssh -N.
func (e *evaluation) matchCriterion(name, arg string) (bool, error) {
	switch name {
	case "host":
		return matchHost(e.hostSoFar(), arg), nil
	case "originalhost":
		return matchHost(e.alias, arg), nil
	case "user":
		return matchList(e.userSoFar(), arg), nil
	case "localuser":
		return matchList(e.reader.User, arg), nil
	case "localnetwork":
		networks, err := parseNetworks(arg)
		if err != nil {
			return false, err
		}
		return inNetworks(networks)
	case "version":
		return matchList(sshVersion, arg), nil
	case "command":
		return arg == "", nil
	case "sessiontype":
		return matchList("none", arg), nil
	case "exec":
		return e.matchExec(arg)
	default: // tagged
		tag := e.values.first("tag")
		return tag == arg || tag != "" && matchList(tag, arg), nil
	}
}

// matchExec executes a command, each once for all hosts.
func (e *evaluation) matchExec(written string) (bool, error) {
	command, err := e.execTokens().ExpandForShell(written)
	if err != nil {
		return false, err
	}
	r := e.reader
	if success, ok := r.executed[command]; ok {
		return success, nil
	}
	success, err := r.Exec(command)
	if err != nil {
		return false, err
	}
	if r.executed == nil {
		r.executed = make(map[string]bool)
	}
	r.executed[command] = success
	return success, nil
}
