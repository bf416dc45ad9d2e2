package sshtunnel

// godoc_test.go holds the godoc of what is configured to what Caddy's JSON
// reference needs, which is made of it.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
)

// TestEveryFieldIsDocumented: each field says what it is where nothing is written,
// or that something has to be.
func TestEveryFieldIsDocumented(t *testing.T) {
	configured := make(map[string]bool) // the types whose fields are to be documented
	for _, module := range []any{App{}, transport.Transport{}, ListenerWrapper{}} {
		addConfigured(configured, reflect.TypeOf(module))
	}
	root := reflect.TypeFor[App]().PkgPath()
	var files []string
	for _, pattern := range []string{"*.go", "internal/config/*.go", "internal/transport/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			typ := path.Base(path.Join(root, filepath.ToSlash(filepath.Dir(name)))) + "." + spec.Name.Name
			if !configured[typ] {
				return true
			}
			delete(configured, typ)
			for _, f := range spec.Type.(*ast.StructType).Fields.List {
				doc := f.Doc.Text()
				if f.Tag != nil && !strings.Contains(doc, "Default:") && !strings.Contains(doc, "Required") {
					t.Errorf("%s.%s has no default, and is not required:\n%s", spec.Name, f.Names[0], doc)
				}
			}
			return false
		})
	}
	if len(configured) > 0 {
		t.Errorf("not found: %v", configured)
	}
}

// addConfigured adds this module's types that a configuration has, by name.
func addConfigured(types map[string]bool, typ reflect.Type) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		addConfigured(types, typ.Elem())
	case reflect.Struct:
		if !strings.HasPrefix(typ.PkgPath(), reflect.TypeFor[App]().PkgPath()) {
			return
		}
		types[path.Base(typ.PkgPath())+"."+typ.Name()] = true
		for f := range typ.Fields() {
			if f.IsExported() {
				addConfigured(types, f.Type)
			}
		}
	default:
	}
}
