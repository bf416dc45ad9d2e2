package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestToken: Caddy reads a token as it was, as one.
func TestToken(t *testing.T) {
	t.Parallel()
	for _, want := range []string{
		"plain", "", "with space", "tab\tbed", "ü", `CORP\user@b`, `quo"te`, `back\slash and space`,
		`ends\`, `ends\ in\`, "#hash", "a#b", "<<EOF", `a\"b`, `"`, "{", "}",
	} {
		tokens, err := caddyfile.Tokenize([]byte("first "+token(want)+"\nnext"), "Caddyfile")
		if err != nil || len(tokens) != 3 || tokens[1].Text != want || tokens[2].Line != 2 {
			t.Errorf("%q is written as %s: %v, %v", want, token(want), tokens, err)
		}
	}
}

// TestInitTexts: what would begin or end a block of the files that init prints, or be a
// pattern there, is refused before anything is asked.
func TestInitTexts(t *testing.T) {
	t.Parallel()
	flags := func(change func(*initFlags)) *initFlags {
		f := &initFlags{site: "http://localhost:8080"}
		change(f)
		return f
	}
	for name, c := range map[string]struct {
		user string
		*initFlags
	}{
		"a user for everybody": {"*", flags(func(*initFlags) {})},
		"two users":            {"deploy,root", flags(func(*initFlags) {})},
		"another user":         {"*,!deploy", flags(func(*initFlags) {})},
		"a placeholder":        {"{env.HOME}", flags(func(*initFlags) {})},
		"a quote":              {`de"ploy`, flags(func(*initFlags) {})},
		"a site's block":       {"u", flags(func(f *initFlags) { f.site = "a {" })},
		"a site's comment":     {"u", flags(func(f *initFlags) { f.site = "a #" })},
	} {
		if err := c.checkTexts(c.user); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, user := range []string{"", "deploy", "first last", `CORP\u`, "u@corp.example"} {
		if err := flags(func(f *initFlags) { f.site = "a.example, b.example" }).checkTexts(user); err != nil {
			t.Errorf("%q: %v", user, err)
		}
	}
}

// TestInstallScript: the script adds a line once, and not beside the same key with other
// options, however authorized_keys has that, in every login shell.
func TestInstallScript(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"sh", "bash", "csh", "fish"} {
		t.Run(shell, func(t *testing.T) { testInstallScript(t, sshtest.Program(t, shell)) })
	}
}

func testInstallScript(t *testing.T, shell string) {
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshtest.NewKey().PublicKey())))
	line := "restrict " + public + " caddy-ssh-tunnel prod"
	for name, c := range map[string]struct{ before, want, after string }{
		"none":             {"", "added", line + "\n"},
		"without an end":   {"# x", "added", "# x\n" + line + "\n"},
		"there":            {line, "unchanged", line},
		"there with CRLF":  {line + "\r\n", "other", line + "\r\n"},
		"other options":    {"no-pty " + public, "other", "no-pty " + public},
		"a tab in it":      {strings.Replace(public, " ", "\t", 1), "other", strings.Replace(public, " ", "\t", 1)},
		"two spaces in it": {strings.Replace(public, " ", "  ", 1), "other", strings.Replace(public, " ", "  ", 1)},
		"a comment":        {" # " + public + "\n", "added", " # " + public + "\n" + line + "\n"},
		"a tabbed comment": {"\t#" + public + "\n", "added", "\t#" + public + "\n" + line + "\n"},
	} {
		home := t.TempDir()
		path := filepath.Join(home, ".ssh", "authorized_keys")
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(c.before), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), shell, "-c", installScript)
		cmd.Env = append(os.Environ(), "HOME="+home)
		cmd.Stdin = strings.NewReader(line + "\n" + keyBase64(line) + "\n")
		out, err := cmd.CombinedOutput()
		after, _ := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(out)) != c.want || string(after) != c.after {
			t.Errorf("%s: %v, %q, and the file is %q", name, err, out, after)
		}
	}
}
