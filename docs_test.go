package sshtunnel

// docs_test.go holds README.md to what the code does: its Caddyfiles, JSON,
// tables of options, texts of errors and logs, and dependencies.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/command"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
)

// fence is a block of code of the README.
type fence struct {
	line    int
	lang    string // with what comes after it, as in "caddyfile tunnel"
	content string
}

// around is what makes a whole Caddyfile of a fence, by what its language says
// that it is a part of.
var around = map[string]string{
	"caddyfile":        "%s",
	"caddyfile global": "{\n%s}\n:443 {\n}\n",
	"caddyfile tunnel": "{\nssh_tunnel {\ntunnel prod bastion.example.com {\n%s}\n}\n}\n",
	"caddyfile site":   ":80 {\n%s}\n",
}

// TestReadmeExamples adapts the Caddyfiles of the README, and validates those
// that are whole. JSON after one of them is a part of what that adapts to.
func TestReadmeExamples(t *testing.T) {
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"id_ed25519": sshtest.NewKey().PEM(""), "known_hosts": nil} {
		if err := os.WriteFile(filepath.Join(home, ".ssh", name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("PASSPHRASE", "x")
	t.Setenv("SOCKS_PASSWORD", "x")

	var config any // of the Caddyfile before
	counts := make(map[string]int)
	for _, f := range readmeFences(t) {
		counts[f.lang]++
		switch {
		case strings.HasPrefix(f.lang, "caddyfile"):
			whole, ok := around[f.lang]
			if !ok {
				t.Errorf("README.md:%d: unknown kind of Caddyfile %q", f.line, f.lang)
				continue
			}
			if formatted := caddyfile.Format([]byte(f.content)); string(formatted) != f.content {
				t.Errorf("README.md:%d: not as caddy fmt has it:\n%s", f.line, formatted)
			}
			adapted, err := caddytest.Adapt(fmt.Sprintf(whole, f.content))
			if err != nil {
				t.Errorf("README.md:%d: %v", f.line, err)
				continue
			}
			if f.lang == "caddyfile" {
				// Not with what this machine happens to have there.
				if err := caddytest.Load(bytes.ReplaceAll(adapted, []byte("/etc/caddy/"), []byte(filepath.ToSlash(home)+"/"))); err != nil {
					t.Errorf("README.md:%d: %v", f.line, err)
				}
			}
			config = parseJSON(t, adapted)
		case f.lang == "json":
			if !containsValue(config, parseJSON(t, []byte(f.content))) {
				t.Errorf("README.md:%d: no part of what the Caddyfile before it adapts to", f.line)
			}
		}
	}
	if counts["caddyfile"] == 0 || counts["json"] == 0 {
		t.Errorf("too few examples were found: %v", counts)
	}
}

// TestReadmeBegins checks that the README begins with the least that works.
func TestReadmeBegins(t *testing.T) {
	golden, err := os.ReadFile("testdata/ten_lines.caddyfiletest")
	if err != nil {
		t.Fatal(err)
	}
	tenLines, _, _ := strings.Cut(string(golden), "----------\n")
	first := readmeFences(t)[0]
	if first.content != tenLines {
		t.Errorf("the first Caddyfile is\n%s\nwant\n%s", first.content, tenLines)
	}
	if last := first.line + strings.Count(first.content, "\n"); last > 20 {
		t.Errorf("the first Caddyfile ends on line %d, want it within the first 20", last)
	}
}

func TestReadmeTunnelOptions(t *testing.T) {
	section := readmeSection(t, "The app block")
	rows := tableRows(section)
	usages := make(map[string]string)
	for _, row := range rows {
		usages[code(row[0])] = code(row[1])
	}
	want := make(map[string]string)
	for name, opt := range config.TunnelOptions {
		want[name] = opt.Usage
	}
	if !maps.Equal(usages, want) {
		t.Errorf("options and their arguments are\n%v\nwant\n%v", usages, want)
	}
	if len(rows) != len(usages) {
		t.Error("an option has two rows")
	}
}

// TestReadmeForwardOptions compares the options in the blocks of forwards.
func TestReadmeForwardOptions(t *testing.T) {
	got := make(map[string]string) // what comes after an option and its forward
	for _, row := range tableRows(readmeSection(t, "Forwards")) {
		where := codes(row[2])
		if row[2] == "all" {
			where = []string{"local_forward", "remote_forward", "dynamic_forward"}
		}
		for _, forward := range where {
			got[forward+" "+code(row[0])] = code(row[1])
		}
	}
	want := make(map[string]string)
	for forward, option := range config.TunnelOptions {
		for name, opt := range option.Block {
			want[forward+" "+name] = opt.Usage
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("options and their arguments are\n%v\nwant\n%v", got, want)
	}
}

// TestReadmeWrapperOptions compares the options in the listener wrapper's block.
func TestReadmeWrapperOptions(t *testing.T) {
	got := make(map[string]string)
	for _, row := range tableRows(readmeSection(t, "The listener wrapper")) {
		got[code(row[0])] = code(row[1])
	}
	want := map[string]string{"match": "<matcher> <arguments...>"}
	for name, opt := range config.RawOptions {
		want[name] = opt.Usage
	}
	if !maps.Equal(got, want) {
		t.Errorf("options and their arguments are\n%v\nwant\n%v", got, want)
	}
}

// TestReadmeCommand checks that each of a command's flags is in one of its
// tables: by its letter, as ssh has them, or else by its name.
func TestReadmeCommand(t *testing.T) {
	section := readmeSection(t, "The command")
	forward, rest, _ := strings.Cut(section, "\n### check\n")
	check, keyscan, ok := strings.Cut(rest, "\n### keyscan\n")
	if !ok {
		t.Fatal("README.md does not have check and keyscan, in this order")
	}
	sections := map[string]string{"forward": forward, "check": check, "keyscan": keyscan}
	for _, cmd := range command.All() {
		section, ok := sections[cmd.Name()]
		if !ok {
			continue
		}
		var got, want []string
		for _, row := range tableRows(section) {
			for _, piece := range codes(row[0]) {
				if flag, _, _ := strings.Cut(piece, " "); strings.HasPrefix(flag, "-") {
					got = append(got, flag)
				}
			}
		}
		usages := cmd.Flags().FlagUsages()
		for _, m := range regexp.MustCompile(`(?m)^ +(-\w)?(?:, )?(--[\w-]+)`).FindAllStringSubmatch(usages, -1) {
			want = append(want, cmp.Or(m[1], m[2]))
		}
		sameNames(t, "the flags of "+cmd.Name(), got, want)
	}
}

func TestReadmeTransportOptions(t *testing.T) {
	var all, refused []string
	for _, row := range tableRows(readmeSection(t, "The transport")) {
		switch name := code(row[0]); row[1] {
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

// httpTransportOptions returns the options of Caddy's http transport, from the
// source that it was built from: those of a newer Caddy have to be classified,
// too.
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

// TestReadmeStatus checks that each of the status's JSON fields is in the table,
// and each flag of the commands that ask for it.
func TestReadmeStatus(t *testing.T) {
	var fields, flags []string
	for _, row := range tableRows(readmeSection(t, "Seeing and driving it")) {
		for _, piece := range codes(row[0]) {
			switch name, _, _ := strings.Cut(piece, " "); {
			case strings.HasPrefix(name, "-"):
				flag, _, _ := strings.Cut(name, "=")
				flags = append(flags, flag)
			case name == piece:
				fields = append(fields, name)
			}
		}
	}
	sameNames(t, "the status's fields", fields, jsonFields(reflect.TypeFor[adminapi.Status](), ""))

	all := command.All()
	status := all[slices.IndexFunc(all, func(cmd *cobra.Command) bool { return cmd.Name() == "status" })]
	usages := status.Flags().FlagUsages()
	for _, m := range regexp.MustCompile(`(?m)^ +(?:(-\w), )?(--[\w-]+)`).FindAllStringSubmatch(usages, -1) {
		if !slices.Contains(flags, m[1]) && !slices.Contains(flags, m[2]) {
			t.Errorf("README.md: no flag %s", m[2])
		}
	}
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

// TestReadmeTexts checks that what the README quotes of errors and logs is in
// the source, around what is left out of it.
func TestReadmeTexts(t *testing.T) {
	var source strings.Builder
	for _, pattern := range []string{"*.go", "internal/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "sshtest") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(text)
		}
	}
	// What other packages say, and what is put together.
	source.WriteString("dial tcp, connect, connection refused, ssh, handshake failed, no answer within connect_timeout, it accepted the connection, but did not answer within connect_timeout, unexpected message type 94, expected one of [31]")
	between := regexp.MustCompile(`[…"(){};:]+`)

	var texts []string
	for _, row := range tableRows(readmeSection(t, "Logs")) {
		texts = append(texts, code(row[1]))
	}
	for _, row := range tableRows(readmeSection(t, "Troubleshooting")) {
		texts = append(texts, code(row[0]))
	}
	if len(texts) < 10 {
		t.Fatalf("only %d texts were found", len(texts))
	}
	for _, text := range texts {
		for _, part := range between.Split(text, -1) {
			part = strings.Trim(part, ` ,`)
			if !strings.Contains(source.String(), part) {
				t.Errorf("%q: %q is not in the source", text, part)
			}
		}
	}
}

func TestReadmeDependencies(t *testing.T) {
	gomod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var direct, listed []string
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\t?(\S+) v\S+$`).FindAllStringSubmatch(string(gomod), -1) {
		direct = append(direct, m[1])
	}
	for _, row := range tableRows(readmeSection(t, "Dependencies")) {
		listed = append(listed, code(row[0]))
	}
	sameNames(t, "dependencies", listed, direct)
}

// TestReadmeLinks checks the README's links to its sections and to files.
func TestReadmeLinks(t *testing.T) { checkLinks(t, readReadme(t)) }

// checkLinks checks the links of a document, and that its contents, which come
// before its first section, have each section once.
func checkLinks(t *testing.T, document string) {
	t.Helper()
	anchors := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(document, -1) {
		plain := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(plain, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(document, -1) {
		anchor, isAnchor := strings.CutPrefix(m[1], "#")
		switch {
		case isAnchor && !anchors[anchor]:
			t.Errorf("no section %q", m[1])
		case !isAnchor && !strings.Contains(m[1], "://"):
			file, _, _ := strings.Cut(m[1], "#")
			if _, err := fs.Stat(os.DirFS("."), file); err != nil {
				t.Error(err)
			}
		}
	}
	contents, _, _ := strings.Cut(document, "\n## ")
	for _, m := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(document, -1) {
		if n := strings.Count(contents, "["+m[1]+"](#"); n != 1 {
			t.Errorf("the contents have %q %d times", m[1], n)
		}
	}
}

func readReadme(t *testing.T) string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(readme)
}

func readmeFences(t *testing.T) (fences []fence) {
	t.Helper()
	open := false
	number := 0
	for line := range strings.Lines(readReadme(t)) {
		number++
		lang, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && !open:
			fences = append(fences, fence{line: number, lang: strings.TrimSpace(lang)})
			open = true
		case isFence:
			open = false
		case open:
			fences[len(fences)-1].content += line
		}
	}
	if open || len(fences) == 0 {
		t.Fatal("README.md has no fences, or one that is not closed")
	}
	return fences
}

// readmeSection returns what is below a heading of the second level.
func readmeSection(t *testing.T, heading string) string {
	t.Helper()
	_, section, ok := strings.Cut(readReadme(t), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("README.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// tableRows returns the cells of all tables of a text, their heads left out.
func tableRows(text string) (rows [][]string) {
	const bar = "\x00" // an escaped one, which does not separate
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		if strings.HasPrefix(line, "|-") { // what came before it was the head
			rows = rows[:len(rows)-1]
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, bar), "|")
		cells = cells[1 : len(cells)-1]
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cell), bar, "|")
		}
		rows = append(rows, cells)
	}
	return rows
}

// code returns the first piece of code in a text, or "".
func code(text string) string {
	if pieces := codes(text); len(pieces) > 0 {
		return pieces[0]
	}
	return ""
}

// codes returns all pieces of code in a text.
func codes(text string) (pieces []string) {
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		pieces = append(pieces, m[1])
	}
	return pieces
}

// sameNames compares two lists, whatever their order.
func sameNames(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("%s are\n%q\nwant\n%q", what, got, want)
	}
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
