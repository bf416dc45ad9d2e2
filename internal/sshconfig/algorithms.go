package sshconfig

// algorithms.go puts lists of algorithms together.

import (
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// Algorithms returns the algorithms that a list of ssh_config(5) stands for, in
// order of preference, and those names in it that nobody knows. The list is
// written out, or is added to the default ones (+), put before them (^), or
// taken from them (-). It may have patterns; what is known but broken they do
// not bring in: that takes its full name.
func Algorithms(list string, defaults, broken []string) (names, unknown []string) {
	how := byte(0)
	if list != "" && strings.IndexByte("+-^", list[0]) >= 0 {
		how, list = list[0], list[1:]
	}
	if how == '-' {
		for _, name := range defaults {
			if !matchList(name, list) {
				names = append(names, name)
			}
		}
		return names, nil
	}
	var written []string
	for pattern := range strings.SplitSeq(list, ",") {
		if pattern == "" {
			break // as for ssh
		}
		matching := slices.DeleteFunc(slices.Clone(defaults), func(name string) bool { return !sshsyntax.Match(pattern, name) })
		if slices.Contains(broken, pattern) {
			matching = append(matching, pattern)
		}
		if len(matching) == 0 {
			unknown = append(unknown, pattern)
		}
		written = append(written, matching...)
	}
	switch how {
	case '+':
		written = slices.Concat(defaults, written)
	case '^':
		written = slices.Concat(written, defaults)
	}
	for _, name := range written {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, unknown
}
