package sshtunnel

// docs_tables_test.go compares the tables of the manual with the options, flags and
// fields that there are.

import (
	"fmt"
	"maps"
	"os"
	"path"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/spf13/pflag"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/command"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/upstreams"
)

func TestManualTunnelOptions(t *testing.T) {
	rows := tunnelOptions.rows(t)
	got := make(map[string]string)
	for _, r := range rows {
		got[code(r.cells[0])] = code(r.cells[1])
	}
	want := make(map[string]string)
	for name, opt := range config.TunnelOptions {
		want[name] = opt.Usage
	}
	wantUsages(t, got, want)
	if len(rows) != len(got) {
		t.Error("an option has two rows")
	}
}

// TestManualAlgorithms compares the lists of algorithms that are in force by default,
// and of those that have to be written.
func TestManualAlgorithms(t *testing.T) {
	var got, want []string
	for _, r := range algorithmLists.rows(t) {
		got = append(got, fmt.Sprint(code(r.cells[0]), codes(r.cells[1]), codes(r.cells[2])))
	}
	for _, o := range (algorithms.Lists{}).Options() {
		want = append(want, fmt.Sprint(o.Name, o.Supported, o.Insecure))
	}
	sameNames(t, "algorithms", got, want)
}

// TestManualForwardOptions compares the options in the blocks of forwards.
func TestManualForwardOptions(t *testing.T) {
	got := make(map[string]string) // what comes after an option and its forward
	for _, r := range forwardOptions.rows(t) {
		where := codes(r.cells[2])
		if r.cells[2] == "all" {
			where = []string{"local_forward", "remote_forward", "dynamic_forward"}
		}
		for _, forward := range where {
			got[forward+" "+code(r.cells[0])] = code(r.cells[1])
		}
	}
	want := make(map[string]string)
	for forward, option := range config.TunnelOptions {
		for name, opt := range option.Block {
			want[forward+" "+name] = opt.Usage
		}
	}
	wantUsages(t, got, want)
}

// TestManualRawOptions compares the options in the blocks of the listener wrapper and of
// caddy-l4's handler.
func TestManualRawOptions(t *testing.T) {
	for _, p := range []place{wrapperOptions, layer4Options} {
		got := make(map[string]string)
		for _, r := range p.rows(t) {
			got[code(r.cells[0])] = code(r.cells[1])
		}
		want := make(map[string]string)
		if p == wrapperOptions {
			want["match"] = "<matcher> <arguments...>"
		}
		for name, opt := range config.RawOptions {
			want[name] = opt.Usage
		}
		wantUsages(t, got, want)
	}
}

// TestManualOptionTables compares the options that pages have besides, in tables whose
// head begins with option and arguments.
func TestManualOptionTables(t *testing.T) {
	usages := make(map[string]string)
	for name, opt := range config.TunnelOptions {
		usages[name] = opt.Usage
		for name, opt := range opt.Block {
			usages[name] = opt.Usage
		}
	}
	delete(usages, "user") // a tunnel's, and another one of dynamic_forward
	for _, d := range manual(t) {
		for _, r := range d.rows() {
			if len(r.head) < 2 || r.head[0] != "option" || r.head[1] != "arguments" {
				continue
			}
			if want, ok := usages[code(r.cells[0])]; ok && code(r.cells[1]) != want {
				t.Errorf("%s: arguments of %s are %s, want %q", d.name, r.cells[0], r.cells[1], want)
			}
		}
	}
}

// TestManualDynamicOptions compares the options of dynamic upstreams.
func TestManualDynamicOptions(t *testing.T) {
	got := make(map[string]string)
	for _, r := range dynamicOptions.rows(t) {
		if r.head[0] != "option" {
			continue
		}
		of := codes(r.cells[2])
		if r.cells[2] == "both" {
			of = []string{"a", "srv"}
		}
		for _, typ := range of {
			got[typ+" "+code(r.cells[0])] = code(r.cells[1])
		}
	}
	want := make(map[string]string)
	for name, option := range upstreams.Options {
		for _, typ := range []upstreams.Type{upstreams.TypeA, upstreams.TypeSRV} {
			if option.Type == "" || option.Type == typ {
				want[string(typ)+" "+name] = option.Usage
			}
		}
	}
	wantUsages(t, got, want)
}

// wantUsages compares options and their arguments.
func wantUsages(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("options and their arguments are\n%v\nwant\n%v", got, want)
	}
}

// TestManualModules compares the modules that builds have.
func TestManualModules(t *testing.T) {
	var listed []string
	for _, f := range read(t, pageFile("getting-started")).fences() {
		if command, modules, _ := strings.Cut(f.content, "\n"); strings.Contains(command, "list-modules") {
			listed = append(listed, strings.Fields(modules)...)
		}
	}
	want := slices.DeleteFunc(caddy.Modules(), func(id string) bool { return !strings.Contains(id, "ssh_tunnel") })
	sameNames(t, "modules", listed, want)
}

func TestManualTransportOptions(t *testing.T) {
	var all, refused []string
	for _, r := range transportOptions.rows(t) {
		switch name := code(r.cells[0]); r.cells[1] {
		case "works":
			all = append(all, name)
		case "refused":
			refused = append(refused, name)
			if !strings.Contains(name, " ") { // "versions 3" is but a value
				all = append(all, name)
			}
		}
	}
	var want []string
	for _, o := range transport.RefusedOptions {
		want = append(want, o.Name)
	}
	sameNames(t, "refused options", refused, want)
	sameNames(t, "options of the http transport", all, httpTransportOptions(t))
}

// httpTransportOptions returns the options of Caddy's http transport, from the source
// that it was built from: those of a newer Caddy have to be classified, too.
func httpTransportOptions(t *testing.T) (options []string) {
	t.Helper()
	parse := reflect.ValueOf((*reverseproxy.HTTPTransport).UnmarshalCaddyfile)
	file, _ := runtime.FuncForPC(parse.Pointer()).FileLine(parse.Pointer())
	source, err := os.ReadFile(file)
	if err != nil {
		t.Skipf("Caddy's source is not where it was built, as with -trimpath: %v", err)
	}
	_, function, _ := strings.Cut(string(source), "func (h *HTTPTransport) UnmarshalCaddyfile(")
	function, _, _ = strings.Cut(function, "\n}\n")
	for _, m := range regexp.MustCompile(`(?m)^\t\tcase "(\w+)":`).FindAllStringSubmatch(function, -1) {
		options = append(options, m[1])
	}
	return options
}

// TestManualPlaceholders compares the placeholders that the transport sets.
func TestManualPlaceholders(t *testing.T) {
	var got, want []string
	for _, r := range placeholders.rows(t) {
		got = append(got, codes(r.cells[0])...)
	}
	for _, file := range sourceFiles(t) {
		for _, m := range regexp.MustCompile(`"(http\.reverse_proxy\.ssh_tunnel\.\w+)"`).FindAllStringSubmatch(readFile(t, file), -1) {
			want = append(want, "{"+m[1]+"}")
		}
	}
	sameNames(t, "placeholders", got, want)
}

// TestManualAdminAPI compares the requests that the admin API answers.
func TestManualAdminAPI(t *testing.T) {
	var got, want []string
	for _, r := range adminRequests.rows(t) {
		if _, path, ok := strings.Cut(code(r.cells[0]), " "); ok {
			got = append(got, path)
		}
	}
	for _, route := range new(adminAPI).Routes() {
		if route.Pattern != adminapi.Path { // serves nothing
			want = append(want, strings.ReplaceAll(strings.ReplaceAll(route.Pattern, "{", "<"), "}", ">"))
		}
	}
	sameNames(t, "requests of the admin API", got, want)
}

// TestManualCommands compares the flags of each command with those in its section: by
// their letter or their name.
func TestManualCommands(t *testing.T) {
	for _, cmd := range command.All() {
		flags := cmd.Flags()
		flags.AddFlagSet(cmd.PersistentFlags())
		for _, below := range cmd.Commands() {
			flags.AddFlagSet(below.Flags())
		}
		names := make(map[string]string) // of flags, by how they are written
		var want []string
		flags.VisitAll(func(f *pflag.Flag) {
			names["--"+f.Name] = f.Name
			if f.Shorthand != "" {
				names["-"+f.Shorthand] = f.Name
			}
			if f.Name != "help" && !f.Hidden { // those of ssh that change nothing, or are refused
				want = append(want, f.Name)
			}
		})
		found := make(map[string]bool)
		for _, r := range commandPlace(cmd.Name()).rows(t) {
			for _, piece := range codes(r.cells[0]) {
				flag, _, _ := strings.Cut(piece, " ")
				flag, _, _ = strings.Cut(flag, "=")
				if name, ok := names[flag]; ok {
					found[name] = true
				} else if strings.HasPrefix(flag, "-") {
					t.Errorf("%s has no flag %s", cmd.Name(), flag)
				}
			}
		}
		sameNames(t, "the flags of "+cmd.Name(), slices.Collect(maps.Keys(found)), want)
	}
}

// TestManualKeywords compares the keywords of ssh_config(5).
func TestManualKeywords(t *testing.T) {
	lower := func(p place) (names []string) {
		for _, r := range p.rows(t) {
			for _, keyword := range codes(r.cells[0]) {
				names = append(names, strings.ToLower(keyword))
			}
		}
		return names
	}
	taken, warnedOf := sshconfig.Keywords()
	sameNames(t, "keywords that are taken", lower(keywords), taken)
	sameNames(t, "keywords that are ignored with a warning", lower(ignoredKeywords), warnedOf)
}

// TestManualStatus checks that each of the status's JSON fields is in the table.
func TestManualStatus(t *testing.T) {
	var fields []string
	for _, r := range statusFields.rows(t) {
		fields = append(fields, codes(r.cells[0])...)
	}
	sameNames(t, "the status's fields", fields, jsonFields(reflect.TypeFor[adminapi.Status](), ""))
}

// jsonFields returns the paths of all fields of a type's JSON.
func jsonFields(typ reflect.Type, path string) (fields []string) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ.Kind() == reflect.Slice:
		return jsonFields(typ.Elem(), path+"[]")
	case typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]():
		return nil
	}
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			fields = append(fields, jsonFields(f.Type, path)...)
			continue
		case path != "":
			name = path + "." + name
		}
		fields = append(fields, name)
		fields = append(fields, jsonFields(f.Type, name)...)
	}
	return fields
}

func TestManualEvents(t *testing.T) {
	var got, want []string
	for _, r := range eventNames.rows(t) {
		got = append(got, code(r.cells[0]))
	}
	for _, name := range []string{report.EventConnected, report.EventLost, report.EventRefused, report.EventCertificateExpiring} {
		want = append(want, eventPrefix+name)
	}
	sameNames(t, "events", got, want)
}

func TestContributingDependencies(t *testing.T) {
	var direct, listed []string
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\t?(\S+) v\S+$`).FindAllStringSubmatch(readFile(t, "go.mod"), -1) {
		direct = append(direct, m[1])
	}
	for _, r := range dependencies.rows(t) {
		listed = append(listed, code(r.cells[0]))
	}
	sameNames(t, "dependencies", listed, direct)
}

// TestReadmeSpeed checks that the figures of the README are those of the benchmark.
func TestReadmeSpeed(t *testing.T) {
	figures := regexp.MustCompile(`[\d,.]*\d(?:×|/s| [µm]?s| [KM]i?B/s)`)
	measured := figures.FindAllString(read(t, "docs/performance.md").text(table), -1)
	shown := figures.FindAllString(place{"README.md", "Speed"}.section(t).text(prose, table), -1)
	if len(shown) < 4 {
		t.Errorf("README.md has the figures %q, want four at least", shown)
	}
	for _, figure := range shown {
		if !slices.Contains(measured, figure) {
			t.Errorf("README.md has %q, which %s does not have", figure, path.Base("docs/performance.md"))
		}
	}
}
