package sshtunnel

// docs_help_test.go compares the manual's page on the commands with their help.

import (
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/command"
)

// TestManualCommandList compares the first table of the page with the commands and
// their short descriptions, which are imperative.
func TestManualCommandList(t *testing.T) {
	got := make(map[string]string)
	for _, r := range (place{"docs/commands.md", "Commands"}).rows(t) {
		if len(r.head) == 2 && r.head[0] == "command" {
			got[code(r.cells[0])] = strings.ReplaceAll(r.cells[1], "`", "")
		}
	}
	want := make(map[string]string)
	imperative := regexp.MustCompile(`^[A-Z][a-z]*[a-rt-z] `)
	for _, cmd := range command.All() {
		want[cmd.Name()] = cmd.Short + "."
		for _, c := range append(cmd.Commands(), cmd) {
			if !imperative.MatchString(c.Short) || strings.HasSuffix(c.Short, ".") {
				t.Errorf("%s: %q is not imperative, or has a full stop", c.CommandPath(), c.Short)
			}
		}
	}
	wantUsages(t, got, want)
}
