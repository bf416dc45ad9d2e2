package sshconfig

// canonical.go does of CanonicalizeHostname what needs no lookup.

import (
	"strconv"
	"strings"
)

// canonicalize reports whether the files are to be gone through once more, as
// CanonicalizeHostname demands. The host keeps its name: to look up another one is to go
// online. It warns if ssh would look one up.
func (e *evaluation) canonicalize(host string) bool {
	v, ok := e.values.get("canonicalizehostname")
	if !ok || strings.EqualFold(v.args[0], "no") || strings.EqualFold(v.args[0], "false") {
		return false
	}
	isNone := func(keyword string) bool {
		value := e.values.first(keyword)
		return value == "" || strings.EqualFold(value, "none")
	}
	direct := isNone("proxycommand") && isNone("proxyjump")
	if _, err := parseAddr(host); err == nil || !direct && !strings.EqualFold(v.args[0], "always") {
		return true
	}
	dots := 1
	if most, ok := e.values.get("canonicalizemaxdots"); ok {
		dots, _ = strconv.Atoi(most.args[0]) // it was checked
	}
	searched := !isNone("canonicaldomains") && strings.Count(host, ".") <= dots
	if searched || strings.HasSuffix(host, ".") || !isNone("canonicalizepermittedcnames") {
		e.reader.warn("keyword canonicalizehostname", "%s: CanonicalizeHostname does not look up %q, and the name stays as it is; write the whole name as HostName", v.pos, host)
	}
	return true
}
