package command

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestMisplacedArguments gives every command the texts, as each of its flags and as
// an argument.
func TestMisplacedArguments(t *testing.T) {
	root := func() *cobra.Command {
		cmd := &cobra.Command{Use: "ssh-tunnel", SilenceUsage: true, SilenceErrors: true}
		cmd.AddCommand(All()...)
		refuseMisplaced(cmd)
		return cmd
	}
	config := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(config, []byte(":80"), 0o600); err != nil {
		t.Fatal(err)
	}
	var commands func(cmd *cobra.Command, path []string) [][]string
	commands = func(cmd *cobra.Command, path []string) (all [][]string) {
		all = append(all, path)
		for _, below := range cmd.Commands() {
			all = append(all, commands(below, append(slices.Clone(path), below.Name()))...)
		}
		return all
	}
	for what, text := range sshtest.Misplaced() {
		for _, path := range commands(root(), nil) {
			if len(path) == 0 {
				continue
			}
			cmd, _, err := root().Find(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := [][]string{append(slices.Clone(path), text), append(slices.Clone(path), "--", text, "b")}
			for name := range flagNames(cmd) {
				lines = append(lines, append(slices.Clone(path), "--"+name+"="+text))
			}
			for _, line := range lines {
				var out bytes.Buffer
				r := root()
				r.SetOut(&out)
				r.SetErr(&out)
				r.SetArgs(line)
				err := r.Execute()
				if err == nil {
					t.Errorf("%s: %q is taken", what, line[:len(line)-1])
				} else if sshtest.Shows(err.Error()+out.String(), text) {
					t.Errorf("%s: %q shows it: %v", what, path, err)
				}
			}
		}
	}
}

// flagNames returns the names of a command's flags.
func flagNames(cmd *cobra.Command) map[string]bool {
	names := make(map[string]bool)
	for line := range strings.SplitSeq(cmd.Flags().FlagUsages()+cmd.InheritedFlags().FlagUsages(), "\n") {
		if _, rest, ok := strings.Cut(line, "--"); ok {
			name, _, _ := strings.Cut(rest, " ")
			name, _, _ = strings.Cut(name, "[")
			names[name] = true
		}
	}
	return names
}
