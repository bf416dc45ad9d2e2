package sshtunnel

// contributing_test.go checks what contributors and GitHub read: CONTRIBUTING.md, the
// workflows, and that versions written in several places agree.

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestContributingContents(t *testing.T) { checkContents(t, "CONTRIBUTING.md") }

// TestContributingMake compares the Makefile's targets with those in
// CONTRIBUTING.md.
func TestContributingMake(t *testing.T) {
	var listed []string
	for _, r := range read(t, "CONTRIBUTING.md").rows() {
		if target, ok := strings.CutPrefix(code(r.cells[0]), "make "); ok {
			listed = append(listed, target)
		}
	}
	phony := regexp.MustCompile(`(?m)^\.PHONY: (.+)$`).FindStringSubmatch(readFile(t, "Makefile"))
	if len(phony) == 0 {
		t.Fatal("the Makefile has no .PHONY")
	}
	sameNames(t, "make targets of CONTRIBUTING.md", listed, strings.Fields(phony[1]))
}

// TestGitHubFiles parses the YAML files that GitHub reads.
func TestGitHubFiles(t *testing.T) {
	files := findFiles(t, func(name string) bool { return path.Ext(name) == ".yml" && strings.HasPrefix(name, ".github/") })
	if len(files) < 5 {
		t.Fatalf("found only %q", files)
	}
	for _, file := range files {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(readFile(t, file)), &content); err != nil || len(content) == 0 {
			t.Errorf("%s: %v, %v", file, content, err)
		}
	}
}

// TestVersionsAgree compares the versions of Caddy and Go that the Dockerfile, the
// workflows and the manual name with those of go.mod.
func TestVersionsAgree(t *testing.T) {
	for _, c := range []struct{ what, inGoMod, file, inFile string }{
		{"Caddy", `(?m)^\tgithub\.com/caddyserver/caddy/v2 v(\S+)$`, "Dockerfile", `(?m)^FROM caddy:([\d.]+)`},
		{"Go", `(?m)^go (\d+\.\d+)`, ".github/workflows/ci.yml", `golang:([\d.]+)-`},
		{"Go", `(?m)^go (\d+\.\d+)`, ".github/workflows/release.yml", `go-version: "([\d.]+)"`},
		{"Caddy", `(?m)^\tgithub\.com/caddyserver/caddy/v2 v(\S+)$`, "README.md", `(?i)caddy[ :](\d[\d.]*\d)`},
		{"Go", `(?m)^go (\d+\.\d+)`, "README.md", `Go ([\d.]+)`},
		{"Caddy", `(?m)^\tgithub\.com/caddyserver/caddy/v2 v(\S+)$`, "docs/getting-started.md", `Caddy (\d[\d.]*\d)`},
		{"Go", `(?m)^go (\d+\.\d+)`, "docs/getting-started.md", `Go ([\d.]+)`},
	} {
		want := regexp.MustCompile(c.inGoMod).FindStringSubmatch(readFile(t, "go.mod"))
		got := regexp.MustCompile(c.inFile).FindAllStringSubmatch(readFile(t, c.file), -1)
		if len(want) == 0 || len(got) == 0 {
			t.Errorf("no version of %s in go.mod or %s", c.what, c.file)
			continue
		}
		for _, version := range got {
			if version[1] != want[1] {
				t.Errorf("%s: the version of %s is %s, go.mod's is %s", c.file, c.what, version[1], want[1])
			}
		}
	}
}

// TestLayer4Versions compares the versions that the Go module layer4 requires with those
// here: both are to build the same Caddy.
func TestLayer4Versions(t *testing.T) {
	versions := func(file string) map[string]string {
		found := make(map[string]string)
		for _, m := range regexp.MustCompile(`(?m)^(?:\t(\S+) (v\S+)|(go) (\S+)$)`).FindAllStringSubmatch(readFile(t, file), -1) {
			found[m[1]+m[3]] = m[2] + m[4]
		}
		return found
	}
	ours, theirs := versions("go.mod"), versions("layer4/go.mod")
	both := 0
	for module, version := range theirs {
		if want, ok := ours[module]; ok {
			both++
			if version != want {
				t.Errorf("layer4/go.mod has %s %s, go.mod has %s", module, version, want)
			}
		}
	}
	if both < 50 {
		t.Errorf("only %d modules are in both", both)
	}
}

// TestDependabotModules compares the Go modules with those that dependabot
// updates.
func TestDependabotModules(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string   `yaml:"package-ecosystem"`
			Directories []string `yaml:"directories"`
		} `yaml:"updates"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, ".github/dependabot.yml")), &config); err != nil {
		t.Fatal(err)
	}
	var listed, modules []string
	for _, update := range config.Updates {
		if update.Ecosystem == "gomod" {
			listed = append(listed, update.Directories...)
		}
	}
	for _, file := range findFiles(t, func(name string) bool { return path.Base(name) == "go.mod" }) {
		modules = append(modules, path.Join("/", path.Dir(file)))
	}
	sameNames(t, "modules of dependabot.yml", listed, modules)
}

// findFiles returns the paths of the repository's files that match.
func findFiles(t *testing.T, match func(name string) bool) (found []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == ".git" && entry.IsDir():
			return fs.SkipDir
		case !entry.IsDir() && match(name):
			found = append(found, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
