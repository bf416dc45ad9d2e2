package sshtunnel

// docs_prose_test.go bounds the length of the manual's pages, lines and sentences.

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// The most that a reader gets.
const (
	maxReadmeLines   = 250
	maxPageLines     = 300
	maxRecipeLines   = 12
	maxLineLength    = 100
	maxSentenceWords = 35
)

// TestManualPages compares the pages with those in README.md's index.
func TestManualPages(t *testing.T) {
	var names, indexed []string
	for _, d := range manual(t) {
		limit := maxPageLines
		if d.name == "README.md" {
			limit = maxReadmeLines
			for _, m := range regexp.MustCompile(`(?m)^[-|] ?\[[^\]]+\]\(docs/([a-z0-9-]+)\.md\)`).FindAllStringSubmatch(d.text(prose, table), -1) {
				indexed = append(indexed, m[1])
			}
		} else {
			names = append(names, strings.TrimSuffix(path.Base(d.name), ".md"))
			if d.lines[0].kind != heading || !strings.HasPrefix(d.lines[0].text, "# ") {
				t.Errorf("%s does not begin with its title", d.name)
			}
			paragraphs := d.paragraphs()
			if last := paragraphs[len(paragraphs)-1].text; !strings.HasPrefix(last, "See also: ") || !strings.Contains(last, "(../README.md#manual)") {
				t.Errorf("%s does not end with links, one of them to the manual's index", d.name)
			}
		}
		if len(d.lines) > limit {
			t.Errorf("%s has %d lines, want at most %d", d.name, len(d.lines), limit)
		}
	}
	for _, page := range pages {
		if !slices.Contains(names, page) {
			t.Errorf("there is no %s", pageFile(page))
		}
	}
	sameNames(t, "pages", names, pages)
	sameNames(t, "pages in README.md's index", indexed, pages)
}

// TestManualLines checks that prose is wrapped.
func TestManualLines(t *testing.T) {
	for _, d := range manual(t) {
		for _, l := range d.lines {
			if n := utf8.RuneCountInString(l.text); l.kind == prose && n > maxLineLength && !isLinks(l.text) {
				t.Errorf("%s:%d: %d characters, want at most %d", d.name, l.number, n, maxLineLength)
			}
		}
	}
}

// TestManualSentences checks that sentences are short, in paragraphs, lists and tables.
func TestManualSentences(t *testing.T) {
	for _, d := range manual(t) {
		for _, p := range d.paragraphs() {
			for _, sentence := range sentences(p.text) {
				if n := countWords(sentence); n > maxSentenceWords {
					t.Errorf("%s:%d: %d words, want at most %d: %s", d.name, p.number, n, maxSentenceWords, sentence)
				}
			}
		}
	}
}

func TestSentences(t *testing.T) {
	text := "One of `a.b c` and [two words](x.md). Is it 1.5?  A list: **bold**, and (in brackets.) E"
	want := []string{"One of code and two words.", "Is it 1.5?", "A list: bold, and (in brackets.)", "E"}
	if got := sentences(text); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := countWords("a - b, c1 … d"); n != 4 {
		t.Errorf("got %d words, want 4", n)
	}
}

var (
	linkPattern     = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
	listItemPattern = regexp.MustCompile(`^\s*(?:[-*]|\d+\.) +`)
)

// isLinks reports whether a line is but links, as a contents or "See also" is.
func isLinks(text string) bool {
	rest := linkPattern.ReplaceAllString(codePattern.ReplaceAllString(text, "code"), "")
	rest = strings.TrimPrefix(strings.TrimSpace(rest), "See also")
	return !strings.ContainsFunc(rest, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}

// paragraphs returns the paragraphs, items of lists and cells of tables, each on one
// line.
func (d *document) paragraphs() (paragraphs []line) {
	open := false // the last one goes on
	for _, l := range d.lines {
		item := listItemPattern.FindString(l.text)
		switch {
		case l.kind == table:
			for _, r := range (&document{lines: []line{l}}).rows() {
				for _, cell := range r.cells {
					paragraphs = append(paragraphs, line{l.number, prose, cell})
				}
			}
			open = false
		case l.kind != prose:
			open = false
		case open && item == "":
			paragraphs[len(paragraphs)-1].text += " " + strings.TrimSpace(l.text)
		default:
			paragraphs = append(paragraphs, line{l.number, prose, strings.TrimSpace(l.text[len(item):])})
			open = true
		}
	}
	return paragraphs
}

// sentences splits a paragraph. A piece of code is one word.
func sentences(text string) (sentences []string) {
	text = codePattern.ReplaceAllString(text, "code")
	text = linkPattern.ReplaceAllString(text, "$1")
	text = strings.NewReplacer("**", "", "*", "", "\n", " ").Replace(text)
	for text != "" {
		end := regexp.MustCompile(`[.!?][)"”]*(\s+|$)`).FindStringIndex(text)
		if end == nil {
			end = []int{0, len(text)}
		}
		sentences = append(sentences, strings.TrimSpace(text[:end[1]]))
		text = text[end[1]:]
	}
	return sentences
}

func countWords(sentence string) (n int) {
	for word := range strings.FieldsSeq(sentence) {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			n++
		}
	}
	return n
}
