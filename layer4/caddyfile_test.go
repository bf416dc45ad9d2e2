package layer4

// caddyfile_test.go adapts and loads Caddyfiles: the goldens, the example and the manual's.

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCaddyfiles compares what each golden adapts to, or the error of loading it.
func TestCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	t.Setenv("SSH_TUNNEL_TEST_EMPTY", "")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			caddyfile, want, ok := strings.Cut(readFile(t, file), "----------\n")
			if !ok {
				t.Fatal("no line of dashes")
			}
			want = strings.TrimSpace(want)
			got, err := caddytest.Adapt(caddyfile)
			if err == nil {
				err = caddytest.Load(got)
			}
			if !strings.HasPrefix(want, "{") {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got error  %v\nwant       %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, got, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if indented.String() != want {
				t.Errorf("got  %s\nwant %s", indented.String(), want)
			}
		})
	}
}

// TestExamples adapts and loads the example and the Caddyfiles of the manual's page.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "id_ed25519"), sshtest.NewKey().PEM(""), 0o600); err != nil {
		t.Fatal(err)
	}
	caddytest.SetHome(t)
	files, err := filepath.Glob("../examples/layer4/*.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	examples := make(map[string]string)
	for _, file := range files {
		examples[file] = readFile(t, file)
		if link := "](layer4/" + filepath.Base(file) + ")"; !strings.Contains(readFile(t, "../examples/README.md"), link) {
			t.Errorf("examples/README.md does not list %s", file)
		}
	}
	for _, m := range regexp.MustCompile("(?s)```caddyfile layer4\n(.+?)```").FindAllStringSubmatch(readFile(t, "../docs/layer4.md"), -1) {
		examples["docs/layer4.md:\n"+m[1]] = m[1]
	}
	if len(examples) < 3 {
		t.Errorf("only %d examples were found", len(examples))
	}
	for name, content := range examples {
		if formatted := caddyfile.Format([]byte(content)); string(formatted) != content {
			t.Errorf("%s: not as caddy fmt has it:\n%s", name, formatted)
		}
		adapted, err := caddytest.Adapt(content)
		if err == nil {
			err = caddytest.Load([]byte(strings.ReplaceAll(string(adapted), "/etc/caddy/", filepath.ToSlash(dir)+"/")))
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
