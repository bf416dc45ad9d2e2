package sshtunnel

// manual_test.go reads README.md and the pages of docs/ for the tests that compare
// them with the code.

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// place is a section of a page, or the page if there is no heading.
type place struct{ page, heading string }

// Where the manual has what is compared with the code.
var (
	tunnelOptions    = place{"docs/tunnels.md", "Options"}
	algorithmLists   = place{"docs/tunnels.md", "Algorithms"}
	forwardOptions   = place{"docs/forwards.md", "Options"}
	wrapperOptions   = place{"docs/listener-wrapper.md", "Options"}
	layer4Options    = place{"docs/layer4.md", "Options"}
	transportOptions = place{"docs/transport.md", "Options"}
	dynamicOptions   = place{"docs/transport.md", "Dynamic upstreams"}
	placeholders     = place{"docs/transport.md", "Placeholders"}
	keywords         = place{"docs/ssh-config.md", "Keywords"}
	ignoredKeywords  = place{"docs/ssh-config.md", "Ignored keywords"}
	adminRequests    = place{"docs/monitoring.md", "Admin API"}
	statusFields     = place{"docs/monitoring.md", "Status fields"}
	logMessages      = place{"docs/logs.md", ""}
	metricNames      = place{"docs/monitoring.md", "Metrics"}
	causes           = place{"docs/monitoring.md", "Causes"}
	eventNames       = place{"docs/monitoring.md", "Events"}
	errorTexts       = place{"docs/errors.md", ""}
	authorizedKey    = place{"docs/bastion-administrator.md", "authorized_keys"}
	dependencies     = place{"CONTRIBUTING.md", "Dependencies"}
)

// commandPlace is where the flags of `caddy ssh-tunnel <name>` are.
func commandPlace(name string) place { return place{"docs/commands.md", name} }

// pages are the pages of the manual, in README.md's order.
var pages = []string{
	"getting-started", "tunnels", "authentication", "host-keys", "ssh-config", "reaching-the-bastion",
	"transport", "listener-wrapper", "layer4", "forwards", "serving-from-the-bastion", "permitted-targets", "commands",
	"go-api", "operations", "monitoring", "logs", "troubleshooting", "errors", "bastion-administrator",
	"performance", "benchmark", "reliability", "compatibility", "comparison",
}

// manual returns README.md and the pages that exist.
func manual(t *testing.T) (documents []*document) {
	t.Helper()
	documents = append(documents, read(t, "README.md"))
	found, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		documents = append(documents, read(t, filepath.ToSlash(name)))
	}
	return documents
}

// kind is what a line of a document is.
type kind int

const (
	prose kind = iota
	blank
	heading
	table
	fenced // code, and the fences around it
	comment
)

// line is a line of a document, without its end.
type line struct {
	number int
	kind   kind
	text   string
}

// document is a file in Markdown.
type document struct {
	name  string
	lines []line
}

var (
	headingPattern = regexp.MustCompile(`^(#+) (.+)$`)
	codePattern    = regexp.MustCompile("`([^`]+)`")
)

// read returns a document of the repository.
func read(t *testing.T, name string) *document {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := &document{name: name}
	inFence := false
	for number, text := range strings.Split(strings.TrimSuffix(string(content), "\n"), "\n") {
		l := line{number: number + 1, text: text}
		trimmed := strings.TrimSpace(text)
		isFence := strings.HasPrefix(trimmed, "```")
		switch {
		case isFence || inFence:
			l.kind = fenced
		case trimmed == "":
			l.kind = blank
		case headingPattern.MatchString(text):
			l.kind = heading
		case strings.HasPrefix(trimmed, "|"):
			l.kind = table
		case strings.HasPrefix(trimmed, "<!--"):
			l.kind = comment
		}
		if isFence {
			inFence = !inFence
		}
		d.lines = append(d.lines, l)
	}
	if inFence {
		t.Fatalf("%s has a fence that is not closed", name)
	}
	return d
}

// section returns what is below a heading, up to the next one of its level or above.
func (p place) section(t *testing.T) *document {
	t.Helper()
	d := read(t, p.page)
	if p.heading == "" {
		return d
	}
	level := 0
	part := &document{name: p.page + ", " + p.heading}
	for _, l := range d.lines {
		if m := headingPattern.FindStringSubmatch(l.text); l.kind == heading {
			switch {
			case level == 0 && strings.ReplaceAll(m[2], "`", "") == p.heading:
				level = len(m[1])
				continue
			case level > 0 && len(m[1]) <= level:
				return part
			}
		}
		if level > 0 {
			part.lines = append(part.lines, l)
		}
	}
	if level == 0 {
		t.Fatalf("%s has no section %q", p.page, p.heading)
	}
	return part
}

// rows returns the rows of the section's tables.
func (p place) rows(t *testing.T) []row { t.Helper(); return p.section(t).rows() }

// row is a row of a table, with the head of its table.
type row struct{ cells, head []string }

// rows returns the rows of all tables, their heads left out.
func (d *document) rows() (rows []row) {
	const bar = "\x00" // an escaped one, which does not separate
	var head []string
	for i, l := range d.lines {
		if l.kind != table {
			head = nil
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.TrimSpace(l.text), `\|`, bar), "|")
		cells = cells[1 : len(cells)-1]
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(strings.TrimSpace(cell), bar, "|")
		}
		switch {
		case head == nil && i+1 < len(d.lines) && strings.HasPrefix(strings.ReplaceAll(d.lines[i+1].text, " ", ""), "|-"):
			head = cells
		case strings.Trim(strings.Join(cells, ""), "-: ") != "":
			rows = append(rows, row{cells, head})
		}
	}
	return rows
}

// text returns the lines of the kinds.
func (d *document) text(kinds ...kind) string {
	var text strings.Builder
	for _, l := range d.lines {
		if slices.Contains(kinds, l.kind) {
			text.WriteString(l.text + "\n")
		}
	}
	return text.String()
}

// fence is a block of code.
type fence struct {
	line    int
	lang    string // with what comes after it, as in "caddyfile tunnel"
	content string
}

// fences returns the blocks of code, without the indentation that those in lists have.
func (d *document) fences() (fences []fence) {
	open, indent := false, ""
	for _, l := range d.lines {
		before, lang, isFence := strings.Cut(l.text, "```")
		isFence = isFence && strings.TrimSpace(before) == ""
		switch {
		case l.kind != fenced:
		case isFence && !open:
			open, indent = true, before
			fences = append(fences, fence{line: l.number, lang: strings.TrimSpace(lang)})
		case isFence:
			open = false
		default:
			fences[len(fences)-1].content += strings.TrimPrefix(l.text, indent) + "\n"
		}
	}
	return fences
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
	for _, m := range codePattern.FindAllStringSubmatch(text, -1) {
		pieces = append(pieces, m[1])
	}
	return pieces
}

// sameNames compares two lists, whatever their order.
func sameNames(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s are\n%q\nwant\n%q", what, got, want)
	}
}

// pageFile returns the file of a page.
func pageFile(name string) string { return path.Join("docs", name+".md") }
