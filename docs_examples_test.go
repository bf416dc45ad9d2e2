package sshtunnel

// docs_examples_test.go adapts and loads the Caddyfiles of the manual and of examples/.

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// around makes a whole Caddyfile of a fence, by what its language says that it is a
// part of.
var around = map[string]string{
	"caddyfile":        "%s",
	"caddyfile global": "{\n%s}\n:443 {\n}\n",
	"caddyfile tunnel": "{\nssh_tunnel {\ntunnel prod bastion.example.com {\n%s}\n}\n}\n",
	"caddyfile site":   ":80 {\n%s}\n",
}

// TestManualExamples adapts the Caddyfiles of the manual, and loads those that are
// whole. JSON after one of them is a part of what that adapts to.
func TestManualExamples(t *testing.T) {
	etc := newEtc(t)
	counts := make(map[string]int)
	for _, d := range manual(t) {
		var config any // of the Caddyfile before
		for _, f := range d.fences() {
			counts[f.lang]++
			switch {
			case f.lang == "caddyfile layer4": // the Go module layer4 loads these
				config = nil
			case strings.HasPrefix(f.lang, "caddyfile"):
				whole, ok := around[f.lang]
				if !ok {
					t.Errorf("%s:%d: unknown kind of Caddyfile %q", d.name, f.line, f.lang)
					continue
				}
				adapted, err := checkCaddyfile(t, etc, f.content, whole)
				if err != nil {
					t.Errorf("%s:%d: %v", d.name, f.line, err)
					continue
				}
				config = parseJSON(t, adapted)
			case f.lang == "json":
				if !containsValue(config, parseJSON(t, []byte(f.content))) {
					t.Errorf("%s:%d: no part of what the Caddyfile before it adapts to", d.name, f.line)
				}
			}
		}
	}
	if counts["caddyfile"] == 0 || counts["json"] == 0 {
		t.Errorf("too few examples were found: %v", counts)
	}
}

// TestManualExampleFiles adapts and loads the files of examples/.
func TestManualExampleFiles(t *testing.T) {
	etc := newEtc(t)
	files, err := filepath.Glob("examples/*.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Error("there is no examples/*.Caddyfile")
	}
	index := readFile(t, "examples/README.md")
	for _, file := range files {
		if !strings.Contains(index, "]("+filepath.Base(file)+")") {
			t.Errorf("examples/README.md does not list %s", file)
		}
	}
	for _, file := range append(files, "example.Caddyfile") {
		if _, err := checkCaddyfile(t, etc, readFile(t, file), "%s"); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestReadmeBegins checks that the README begins with the least that works, and that
// its recipes are short.
func TestReadmeBegins(t *testing.T) {
	tenLines, _, _ := strings.Cut(readFile(t, "testdata/ten_lines.caddyfiletest"), "----------\n")
	fences := read(t, "README.md").fences()
	first := fences[0]
	if first.content != tenLines {
		t.Errorf("the first Caddyfile is\n%s\nwant\n%s", first.content, tenLines)
	}
	if last := first.line + strings.Count(first.content, "\n"); last > 20 {
		t.Errorf("the first Caddyfile ends on line %d, want it within the first 20", last)
	}
	for _, f := range fences {
		if n := strings.Count(f.content, "\n"); strings.HasPrefix(f.lang, "caddyfile") && n > maxRecipeLines {
			t.Errorf("README.md:%d: %d lines, want at most %d", f.line, n, maxRecipeLines)
		}
	}
}

// TestReadmePicture checks that the README shows the path of a request, in a picture
// that is well-formed and says what it shows.
func TestReadmePicture(t *testing.T) {
	const name = "docs/request-path.svg"
	if !strings.Contains(read(t, "README.md").text(prose), "]("+name+")") {
		t.Errorf("README.md does not show %s", name)
	}
	elements := make(map[string]int)
	for d := xml.NewDecoder(strings.NewReader(readFile(t, name))); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok {
			elements[start.Name.Local]++
		}
	}
	if elements["title"] != 1 || elements["desc"] != 1 {
		t.Errorf("%s has %v, want one title and one desc", name, elements)
	}
}

// newEtc returns a directory that stands for /etc/caddy, and a home directory with the
// usual files.
func newEtc(t *testing.T) string {
	t.Helper()
	etc := t.TempDir()
	if err := os.Mkdir(filepath.Join(etc, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"id_ed25519": sshtest.NewKey().PEM(""), "known_hosts": nil, "ssh_config": nil, "ca.pem": sshtest.NewCA().PEM(),
		".ssh/id_ed25519": sshtest.NewKey().PEM(""), ".ssh/known_hosts": nil, ".ssh/config": nil,
	} {
		if err := os.WriteFile(filepath.Join(etc, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", etc)
	t.Setenv("CREDENTIALS_DIRECTORY", etc)
	t.Setenv("BASTION_KEY", string(sshtest.NewKey().PEM("")))
	t.Setenv("HOST_KEY", sshtest.NewKey().Fingerprint())
	t.Setenv("CADDY_SSH_TUNNEL_ALLOW_PROXY_COMMAND", "1")
	return etc
}

// checkCaddyfile adapts a Caddyfile, which is a part of a whole one. One that is whole
// is loaded, with the files in etc rather than those that this machine has.
func checkCaddyfile(t *testing.T, etc, content, whole string) (adapted []byte, err error) {
	t.Helper()
	for _, m := range regexp.MustCompile(`\{(?:env\.|\$)(\w+)\}`).FindAllStringSubmatch(content, -1) {
		if os.Getenv(m[1]) == "" {
			t.Setenv(m[1], "x")
		}
	}
	if formatted := caddyfile.Format([]byte(content)); string(formatted) != content {
		return nil, fmt.Errorf("not as caddy fmt has it:\n%s", formatted)
	}
	if adapted, err = caddytest.Adapt(fmt.Sprintf(whole, content)); err != nil || whole != "%s" {
		return adapted, err
	}
	return adapted, caddytest.Load([]byte(strings.ReplaceAll(string(adapted), "/etc/caddy/", filepath.ToSlash(etc)+"/")))
}

func parseJSON(t *testing.T, data []byte) (value any) {
	t.Helper()
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatalf("%v:\n%s", err, data)
	}
	return value
}

// containsValue reports whether a JSON value is another one or has it within.
func containsValue(value, part any) bool {
	if reflect.DeepEqual(value, part) {
		return true
	}
	has := func(v any) bool { return containsValue(v, part) }
	switch v := value.(type) {
	case []any:
		return slices.ContainsFunc(v, has)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), has)
	}
	return false
}
