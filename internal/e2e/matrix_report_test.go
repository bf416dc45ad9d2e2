//go:build linux

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// matrix_report_test.go writes what the fault matrix and the soak test found into
// matrix.md and soak.md of docs/reliability.

// markers are around what is written.
func markers(name string) (begin, end string) {
	return fmt.Sprintf("<!-- %s: begin -->\n", name), fmt.Sprintf("<!-- %s: end -->\n", name)
}

// readReport returns what is between a name's markers in a file.
func readReport(t *testing.T, path, name string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := markers(name)
	_, rest, _ := strings.Cut(string(text), begin)
	content, _, _ := strings.Cut(rest, end)
	return content
}

// writeReport replaces what is between a name's markers in a file.
func writeReport(t *testing.T, path, name, content string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := markers(name)
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers for %q", path, name)
	}
	if err := os.WriteFile(path, []byte(before+begin+"\n"+content+"\n"+end+after), 0o644); err != nil { //nolint:gosec // it is documentation
		t.Fatal(err)
	}
}

var caddyVersion = regexp.MustCompile(`github.com/caddyserver/caddy/v2 (v\S+)`)

// surroundings says on what a result was got.
func surroundings(took time.Duration) string {
	first := func(name string, args ...string) string {
		out, _ := exec.Command(name, args...).CombinedOutput()
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return line
	}
	var uname unix.Utsname
	_ = unix.Uname(&uname)
	release, _, _ := strings.Cut(unix.ByteSliceToString(uname.Release[:]), "-")
	caddy := "?"
	if mod, err := os.ReadFile("../../go.mod"); err == nil {
		if found := caddyVersion.FindSubmatch(mod); found != nil {
			caddy = string(found[1])
		}
	}
	openssh, _, _ := strings.Cut(first("ssh", "-V"), ",")
	return fmt.Sprintf("%s, commit %s, in %v. %d cores, Linux %s, %s, Caddy %s, %s.\n",
		time.Now().UTC().Format(time.DateOnly), first("git", "rev-parse", "--short", "HEAD"), took.Round(time.Second),
		runtime.NumCPU(), release, runtime.Version(), caddy, openssh)
}

// millis writes a duration as people read it.
func millis(d time.Duration) string {
	if d < 0 {
		return "never"
	}
	return fmt.Sprintf("%.2fs", d.Seconds())
}

// reportMatrix writes the rows that were tried. All others stay as they are.
func reportMatrix(t *testing.T, path string, rows map[string]*row, all bool, took time.Duration) {
	t.Helper()
	header := surroundings(took)
	old := readReport(t, path, "matrix")
	lines := make(map[string]string)
	if !all {
		lines = tableRows(old)
		was, _, _ := strings.Cut(strings.TrimSpace(old), "\n\n")
		header = fmt.Sprintf("%s\n%d rows again: %s", was, len(rows), header)
	}
	for _, r := range rows {
		lines[r.fault+" | "+r.traffic] = r.line()
	}
	var table strings.Builder
	n, ok := 0, 0
	for _, f := range faultKinds {
		for _, k := range trafficKinds {
			line, found := lines[f.name+" | "+k.name]
			if !found {
				continue
			}
			columns := strings.Split(strings.TrimSuffix(line, " |\n"), " | ")
			for _, how := range columns[len(columns)-3:] {
				if how != untried {
					n++
				}
				if how == "ok" {
					ok++
				}
			}
			table.WriteString(line)
		}
	}
	writeReport(t, path, "matrix", header+fmt.Sprintf("\n%d cells, %d as they must be.\n\n", n, ok)+
		"| fault | in flight | what clients saw | longest | back after | goroutines | files | heap, MiB | alone | reload meanwhile | stop meanwhile |\n"+
		"|---|---|---|---|---|---|---|---|---|---|---|\n"+table.String())
}

// untried stands for a cell that makes no sense.
const untried = "–"

// line is the row in a table.
func (r *row) line() string {
	how := r.meanwhile
	for i := range how {
		how[i] = cmp.Or(how[i], untried)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %d → %d | %d → %d | %.1f → %.1f | %s | %s | %s |\n",
		r.fault, r.traffic, r.saw, millis(r.longest), millis(r.back),
		r.before.goroutines, r.after.goroutines, r.before.files, r.after.files,
		float64(r.before.heap)/(1<<20), float64(r.after.heap)/(1<<20),
		how[nothing], how[aReload], how[aStop])
}

// tableRows returns the rows of a table by their first two columns.
func tableRows(text string) map[string]string {
	rows := make(map[string]string)
	for line := range strings.Lines(text) {
		if columns := strings.Split(line, " | "); len(columns) > 3 {
			rows[strings.TrimPrefix(columns[0], "| ")+" | "+columns[1]] = line
		}
	}
	return rows
}

func reportSoak(t *testing.T, path string, s *soak, took time.Duration) {
	t.Helper()
	var table strings.Builder
	for _, k := range trafficKinds {
		c := s.tallies[k]
		fmt.Fprintf(&table, "| %s | %d | %d | %d | %d | %d | %s |\n", k.name, c.all, c.failed, c.late, c.wrong, c.hung, millis(c.longest))
	}
	var faults []string
	for _, f := range s.choice {
		faults = append(faults, fmt.Sprintf("%s %d", f.name, s.struck[f]))
	}
	writeReport(t, path, "soak", surroundings(took)+
		fmt.Sprintf("\nSeed %d. %d faults: %s.\n\n", s.seed, s.faults, strings.Join(faults, ", "))+
		"| traffic | operations | failed by a fault | failed without | wrong or cut short | hung | longest wait |\n|---|---|---|---|---|---|---|\n"+table.String()+
		fmt.Sprintf("\nFirst and last, at rest: %d and %d goroutines, %d and %d files, %.1f and %.1f MiB of live heap. Service was back after %s at most.\n",
			s.first.goroutines, s.last.goroutines, s.first.files, s.last.files,
			float64(s.first.heap)/(1<<20), float64(s.last.heap)/(1<<20), millis(s.longestBack)))
}

// TestReports checks that the reports are where they are written next time.
func TestReports(t *testing.T) {
	t.Parallel()
	const dir = "../../docs/reliability"
	if rows := tableRows(readReport(t, dir+"/matrix.md", "matrix")); len(rows) < len(faultKinds) {
		t.Errorf("matrix.md has %d rows, want one or more for each of %d faults", len(rows), len(faultKinds))
	}
	if report := readReport(t, dir+"/soak.md", "soak"); !strings.Contains(report, "| bind |") {
		t.Errorf("soak.md has\n%s", report)
	}
}
