package sshtunnel

// security_test.go holds SECURITY.md to the tests and limits that it names. That
// its blocks for sshd are right is seen in internal/e2e.

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources returns all Go files, with single spaces.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	tree := os.DirFS(".")
	err := fs.WalkDir(tree, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := fs.ReadFile(tree, path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`[ \t]+`).ReplaceAllString(all.String(), " ")
}

func TestSecurity(t *testing.T) {
	content, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	security, source := string(content), sources(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]+)`").FindAllStringSubmatch(security, -1)
	limits := regexp.MustCompile("`([A-Za-z]+ = [^`]+)`").FindAllStringSubmatch(security, -1)
	if len(named) < 20 || len(limits) < 10 {
		t.Fatalf("only %d tests and %d limits were found", len(named), len(limits))
	}
	for _, m := range named {
		if !strings.Contains(source, "\nfunc "+m[1]+"(") {
			t.Errorf("there is no %s", m[1])
		}
	}
	for _, m := range limits {
		if !strings.Contains(source, m[1]+"\n") {
			t.Errorf("the code does not have %s", m[1])
		}
	}

	line := regexp.MustCompile(`(?m)^restrict,.*$`).FindString(security)
	if line == "" || !strings.Contains(authorizedKey.section(t).text(fenced), line) {
		t.Errorf("%s does not have %q", authorizedKey.page, line)
	}
	checkContents(t, "SECURITY.md")
}
