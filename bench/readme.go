package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// readme.go keeps the tables in the manual, and the plot, as results.json has
// them.

const (
	readmeBegin = "<!-- bench:begin -->\n"
	readmeEnd   = "<!-- bench:end -->"
)

// Files that -update writes, from the root of the repository.
const (
	resultsFile  = "bench/results.json"
	plotFile     = "bench/results.svg"
	readmeFile   = "README.md"           // ranges over all machines, some of them
	rangesFile   = "docs/performance.md" // all ranges
	measuredFile = "docs/benchmark.md"   // one run in full
)

// insertTable returns a page with the table between its markers. It is false if there
// are none.
func insertTable(readme, table string) (string, bool) {
	before, rest, ok := strings.Cut(readme, readmeBegin)
	if !ok {
		return readme, false
	}
	_, after, ok := strings.Cut(rest, readmeEnd)
	if !ok {
		return readme, false
	}
	return before + readmeBegin + table + readmeEnd + after, true
}

// pages returns what each page has between its markers.
func pages(h history) (map[string]string, error) {
	r, err := h.fullest()
	if err != nil {
		return nil, err
	}
	return map[string]string{
		readmeFile:   headlineTable(h, true),
		rangesFile:   headlineTable(h, false) + "\n" + machineList(h),
		measuredFile: tables(r),
	}, nil
}

// rendered returns the content of the plot and of all pages as they should be,
// by their paths from the root.
func rendered(root string) (map[string]string, error) {
	h, err := readHistory(filepath.Join(root, resultsFile))
	if err != nil {
		return nil, err
	}
	contents, err := pages(h)
	if err != nil {
		return nil, err
	}
	for name, table := range contents {
		page, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		var ok bool
		if contents[name], ok = insertTable(string(page), table); !ok {
			return nil, fmt.Errorf("no %q and %q in %s", strings.TrimSpace(readmeBegin), readmeEnd, name)
		}
	}
	r, err := h.fullest()
	if err != nil {
		return nil, err
	}
	contents[plotFile] = plot(r)
	return contents, nil
}

// render writes the plot and the tables anew from results.json.
func render(root string) error {
	contents, err := rendered(root)
	if err != nil {
		return err
	}
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil { //nolint:gosec // G306: it is for everybody
			return err
		}
	}
	return nil
}
