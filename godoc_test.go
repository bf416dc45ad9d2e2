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
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/statuspage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/upstreams"
)

// declaration is a type as it is declared.
type declaration struct {
	spec *ast.TypeSpec
	doc  string
}

// declarations returns the types of the packages that have modules and what these are
// configured with, by name as reflect has it, and the names of the modules.
func declarations(t *testing.T) (types map[string]declaration, modules []string) {
	t.Helper()
	root := reflect.TypeFor[App]().PkgPath()
	types = make(map[string]declaration)
	for _, pattern := range []string{"*.go", "internal/config/*.go", "internal/transport/*.go", "internal/upstreams/*.go", "internal/statuspage/*.go", "layer4/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			prefix := path.Base(path.Join(root, filepath.ToSlash(filepath.Dir(name)))) + "."
			for _, decl := range file.Decls {
				switch d := decl.(type) {
				case *ast.FuncDecl:
					if d.Name.Name == "CaddyModule" {
						receiver := d.Recv.List[0].Type
						if pointer, ok := receiver.(*ast.StarExpr); ok {
							receiver = pointer.X
						}
						modules = append(modules, prefix+receiver.(*ast.Ident).Name)
					}
				case *ast.GenDecl:
					for _, spec := range d.Specs {
						if s, ok := spec.(*ast.TypeSpec); ok {
							types[prefix+s.Name.Name] = declaration{s, d.Doc.Text()}
						}
					}
				}
			}
		}
	}
	return types, modules
}

// TestEveryFieldIsDocumented: each field says what it is where nothing is written, or
// that something has to be; and in which unit, if it is a quantity.
func TestEveryFieldIsDocumented(t *testing.T) {
	types, _ := declarations(t)
	configured := make(map[string]reflect.Type)
	for _, module := range []any{App{}, transport.Transport{}, upstreams.Upstreams{}, ListenerWrapper{}, ReadyHandler{}, statuspage.Handler{}} {
		addConfigured(configured, reflect.TypeOf(module))
	}
	// A number that is no count has a unit; a duration says so by an example.
	units := map[string]*regexp.Regexp{
		"caddy.Duration": regexp.MustCompile("`\\d+(ms|s|m|h)`"),
		"int64":          regexp.MustCompile(`\bbytes\b`),
		"int":            regexp.MustCompile(`^(How many|The (least|greatest) number of) |\bbits\b`),
	}
	for name, typ := range configured {
		declared, ok := types[name]
		if !ok {
			t.Errorf("%s was not found", name)
			continue
		}
		for _, f := range declared.spec.Type.(*ast.StructType).Fields.List {
			if f.Tag == nil {
				continue
			}
			field, doc := f.Names[0].Name, f.Doc.Text()
			if !strings.Contains(doc, "Default:") && !strings.Contains(doc, "Required") {
				t.Errorf("%s.%s has no default, and is not required:\n%s", name, field, doc)
			}
			if reflected, _ := typ.FieldByName(field); reflected.Type != nil {
				kind := strings.TrimPrefix(reflected.Type.String(), "*")
				if unit := units[kind]; unit != nil && !unit.MatchString(doc) {
					t.Errorf("%s.%s has no unit:\n%s", name, field, doc)
				}
			}
		}
	}
}

// addConfigured adds this module's types that a configuration has, by name.
func addConfigured(types map[string]reflect.Type, typ reflect.Type) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		addConfigured(types, typ.Elem())
	case reflect.Struct:
		if !strings.HasPrefix(typ.PkgPath(), reflect.TypeFor[App]().PkgPath()) {
			return
		}
		types[path.Base(typ.PkgPath())+"."+typ.Name()] = typ
		for f := range typ.Fields() {
			if f.IsExported() {
				addConfigured(types, f.Type)
			}
		}
	default:
	}
}

// TestModulesAreDocumented: the first sentence of a module is a paragraph, and says what
// the module does.
func TestModulesAreDocumented(t *testing.T) {
	types, modules := declarations(t)
	if len(modules) < 4 {
		t.Errorf("only the modules %q were found", modules)
	}
	for _, name := range modules {
		first, _, _ := strings.Cut(types[name].doc, "\n\n")
		first = strings.ReplaceAll(strings.TrimSuffix(first, ":"), "\n", " ")
		_, own, _ := strings.Cut(name, ".")
		does := regexp.MustCompile(`^` + own + ` [a-z]+s [^.]+`)
		if words := len(strings.Fields(first)); !does.MatchString(first) || words > 25 || len(sentences(first)) != 1 {
			t.Errorf("%s begins with %q", name, first)
		}
	}
}

// TestGodocTables compares the tables of placeholders and events with those that there
// are. They have Caddy's form, which is Markdown without outer bars.
func TestGodocTables(t *testing.T) {
	types, _ := declarations(t)
	first := func(module, head string) (names []string) {
		_, table, ok := strings.Cut(types[module].doc, "\n"+head+" | ")
		if table, _, _ = strings.Cut(table, "\n\n"); !ok {
			t.Fatalf("%s has no table %q", module, head)
		}
		for _, line := range strings.Split(strings.TrimSpace(table), "\n")[2:] {
			names = append(names, code(line))
		}
		return names
	}
	var placeholders []string
	files, err := filepath.Glob("internal/transport/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		for _, m := range regexp.MustCompile(`"(http\.reverse_proxy\.ssh_tunnel\.\w+)"`).FindAllStringSubmatch(readFile(t, file), -1) {
			if !slices.Contains(placeholders, "{"+m[1]+"}") {
				placeholders = append(placeholders, "{"+m[1]+"}")
			}
		}
	}
	sameNames(t, "placeholders", first("transport.Transport", "Placeholder"), placeholders)

	var events []string
	for _, name := range []string{report.EventConnected, report.EventLost, report.EventRefused, report.EventCertificateExpiring} {
		events = append(events, eventPrefix+name)
	}
	sameNames(t, "events", first("caddy-ssh-tunnel.App", "Event"), events)
}
