package sshtunnel

// docs_links_test.go checks the links among the documents of the repository.

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	targetPattern  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	noAnchorLetter = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
)

// TestManualLinks checks the links of all documents to files and their sections.
func TestManualLinks(t *testing.T) {
	names := findFiles(t, func(name string) bool {
		dir, _, _ := strings.Cut(name, "/")
		return path.Ext(name) == ".md" && (dir == name || dir == "docs" || dir == "examples" || dir == "bench")
	})
	anchors := make(map[string]map[string]bool) // by document
	for _, name := range names {
		anchors[name] = read(t, name).anchors()
	}
	for _, name := range names {
		d := read(t, name)
		for _, l := range d.lines {
			if l.kind == fenced {
				continue
			}
			text := codePattern.ReplaceAllString(l.text, "code")
			for _, m := range targetPattern.FindAllStringSubmatch(text, -1) {
				if problem := checkLink(anchors, name, m[1]); problem != "" {
					t.Errorf("%s:%d: %s", name, l.number, problem)
				}
			}
		}
	}
}

// checkLink says what is wrong with a link of a document.
func checkLink(anchors map[string]map[string]bool, from, link string) string {
	if strings.Contains(link, "://") {
		return ""
	}
	file, anchor, hasAnchor := strings.Cut(link, "#")
	if file = path.Join(path.Dir(from), file); strings.HasPrefix(link, "#") {
		file = from
	}
	if _, err := fs.Stat(os.DirFS("."), file); err != nil {
		return err.Error()
	}
	if hasAnchor && !anchors[file][anchor] {
		return "no section " + link
	}
	return ""
}

// anchors returns the anchors of the headings, as GitHub makes them.
func (d *document) anchors() map[string]bool {
	anchors := make(map[string]bool)
	for _, l := range d.lines {
		if l.kind != heading {
			continue
		}
		text := linkPattern.ReplaceAllString(strings.TrimLeft(l.text, "# "), "$1")
		anchor := noAnchorLetter.ReplaceAllString(strings.ToLower(text), "")
		anchor = strings.ReplaceAll(anchor, " ", "-")
		unique := anchor
		for n := 1; anchors[unique]; n++ {
			unique = anchor + "-" + strconv.Itoa(n)
		}
		anchors[unique] = true
	}
	return anchors
}

// checkContents checks that the contents of a document, which come before its first
// section, have each section once.
func checkContents(t *testing.T, name string) {
	t.Helper()
	contents, _, _ := strings.Cut(readFile(t, name), "\n## ")
	for _, l := range read(t, name).lines {
		if title, ok := strings.CutPrefix(l.text, "## "); l.kind == heading && ok {
			if n := strings.Count(contents, "["+title+"](#"); n != 1 {
				t.Errorf("%s: the contents have %q %d times", name, title, n)
			}
		}
	}
}
