package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// readme.go keeps the table in docs/performance.md, and the plot, as results.json has
// them.

const (
	readmeBegin = "<!-- bench:begin -->\n"
	readmeEnd   = "<!-- bench:end -->"
)

// Files that -update writes, from the root of the repository.
const (
	resultsFile = "bench/results.json"
	plotFile    = "bench/results.svg"
	readmeFile  = "docs/performance.md"
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

// render writes the plot and the table anew from results.json.
func render(root string) error {
	r, err := readResults(filepath.Join(root, resultsFile))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, plotFile), []byte(plot(r)), 0o644); err != nil { //nolint:gosec // G306: it is for everybody
		return err
	}
	path := filepath.Join(root, readmeFile)
	readme, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	updated, ok := insertTable(string(readme), table(r))
	if !ok {
		return fmt.Errorf("no %q and %q in %s; the table was not written there", strings.TrimSpace(readmeBegin), readmeEnd, readmeFile)
	}
	return os.WriteFile(path, []byte(updated), 0o644) //nolint:gosec // G306: it is for everybody
}
