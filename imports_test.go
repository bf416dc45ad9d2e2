package sshtunnel

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers are the packages of internal, the highest first. One imports only those of
// lower layers.
var layers = [][]string{
	{"command", "bind", "statuspage"},
	{"doctor"},
	{"configfile"},
	{"need"},
	{"upstreams", "rawconn"},
	{"transport", "clienthello", "config", "listen", "keystorage", "adminapi"},
	{"dialer", "hostport", "contract", "remedy"},
	{"forward"},
	{"tunnel"},
	{"pool"},
	{"renewal", "report"},
	{"connect", "remote"},
	{"sshconn", "hostkey", "sshauth", "connlimit", "metrics", "pipe"},
	{"wire", "dial", "algorithms", "readfile", "autokey"},
	{"dialtimeout", "failure", "sshconfig", "filewatch", "keyfile", "permit", "hostname", "loglimit", "storagewrite", "terminal"},
	{"subprocess"},
	{"printable", "redact", "sshsyntax"},
}

// TestImports: imports point down, and each package has its place.
func TestImports(t *testing.T) {
	layerOf := map[string]int{}
	for i, layer := range layers {
		for _, name := range layer {
			layerOf[name] = i
		}
	}
	forTests := []string{"caddytest", "e2e", "sshtest", "tunneltest"}
	dirs, err := os.ReadDir("internal")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		name := dir.Name()
		if slices.Contains(forTests, name) {
			continue
		}
		layer, ok := layerOf[name]
		if !ok {
			t.Errorf("internal/%s is in no layer", name)
			continue
		}
		files, err := filepath.Glob(filepath.Join("internal", name, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		product := slices.DeleteFunc(slices.Clone(files), isTest)
		lines := 0
		for _, file := range product {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(content, []byte("\n"))
		}
		if len(product) > 25 || lines > 3500 {
			t.Errorf("internal/%s has %d files and %d lines; a package has one job, at most 25 files and 3,500 lines", name, len(product), lines)
		}
		for _, file := range files {
			for _, imported := range internalImports(t, file) {
				if to, ok := layerOf[imported]; ok && to <= layer && !isTest(file) {
					t.Errorf("%s imports internal/%s, which is not below it", file, imported)
				}
			}
		}
	}
	root, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(root, isTest)); n > 12 {
		t.Errorf("the root has %d files", n)
	}
}

func isTest(file string) bool { return strings.HasSuffix(file, "_test.go") }

// internalImports returns the packages of internal that a file imports, by name.
func internalImports(t *testing.T, file string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(path, "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/"); ok {
			names = append(names, name)
		}
	}
	return names
}
