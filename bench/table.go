package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// table.go renders results as a table in Markdown, which is also what a
// terminal shows.

// columns of the table. CPU is that of one request, or of a gigabyte, in the
// order of the columns before.
var columns = []string{
	"workload", "figure", "no tunnel", "`ssh_tunnel`", "`ssh -L`",
	"against `ssh -L`", "against no tunnel", "CPU of Caddy (and `ssh`)", "CPU of sshd",
}

// table returns the table and its caption.
func table(r results) string {
	rows := [][]string{columns}
	for _, w := range r.Workloads {
		rows = append(rows, tableRows(w)...)
	}
	return alignRows(rows) + "\n" + caption(r) + "\n"
}

// caption says how the figures came about.
func caption(r results) string {
	plural := "s"
	if r.Settings.Rounds == 1 {
		plural = ""
	}
	return wrap(fmt.Sprintf("Medians of %d round%s. %s. Load: %s.", r.Settings.Rounds, plural, r.Environment, r.Settings.LoadGenerator), 100)
}

// wrap breaks a text into lines of at most so many bytes.
func wrap(text string, limit int) string {
	var wrapped strings.Builder
	length := 0
	for i, word := range strings.Fields(text) {
		switch length += 1 + len(word); {
		case i == 0:
			length--
		case length > limit:
			wrapped.WriteByte('\n')
			length = len(word)
		default:
			wrapped.WriteByte(' ')
		}
		wrapped.WriteString(word)
	}
	return wrapped.String()
}

// tableRows are those of one workload: one for each metric that has a place.
// What CPU it took stands in the first.
func tableRows(w workloadResult) [][]string {
	var rows [][]string
	title := w.Title
	for _, m := range w.Metrics {
		if !m.InTable {
			continue
		}
		row := []string{title, m.Title, m.value(direct), m.value(tunnel), m.value(sshL), ratio(m.ToSSH), ratio(m.ToDirect), "", ""}
		if len(rows) == 0 {
			row[7] = cpuCell(w.metric(cpuClient), direct, tunnel, sshL)
			row[8] = cpuCell(w.metric(cpuSSHD), tunnel, sshL)
		}
		rows = append(rows, row)
		title = ""
	}
	return rows
}

// value is a variant's median with its unit.
func (m metricResult) value(v variant) string {
	x, ok := m.Median[v]
	if !ok {
		return ""
	}
	return number(x) + unit(m.Unit)
}

// unit is how it stands behind a number.
func unit(u string) string {
	if u == "" || strings.HasPrefix(u, "/") {
		return u
	}
	return " " + u
}

// cpuCell is the medians of several variants.
func cpuCell(m *metricResult, of ...variant) string {
	if m == nil {
		return ""
	}
	var cells []string
	for _, v := range of {
		if x, ok := m.Median[v]; ok {
			cells = append(cells, number(x))
		}
	}
	return strings.Join(cells, " · ") + unit(m.Unit)
}

// ratio is one with its sign.
func ratio(r *float64) string {
	if r == nil {
		return ""
	}
	return number(*r) + "×"
}

// number writes a figure with three digits at least, as far as it has them, and
// commas between thousands.
func number(x float64) string {
	digits := 0
	if abs := math.Abs(x); abs < 99.95 {
		digits = 1
		if abs < 9.995 {
			digits = 2
		}
	}
	text := strconv.FormatFloat(x, 'f', digits, 64)
	whole, rest, _ := strings.Cut(text, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if strings.Trim(rest, "0") == "" && digits == 1 {
		rest = "" // 3,000 idle streams are no 3,000.0; 12.0 is 12
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}

// alignRows writes rows as Markdown whose columns are aligned as text as well.
// The first two columns are words, the others figures.
func alignRows(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)), 3)
		}
	}
	var out strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i < 2 {
				cell += pad
			} else {
				cell = pad + cell
			}
			out.WriteString("| " + cell + " ")
		}
		out.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, width := range widths {
			line := "|" + strings.Repeat("-", width+2)
			if i >= 2 {
				line = line[:len(line)-1] + ":"
			}
			out.WriteString(line)
		}
		out.WriteString("|\n")
	}
	return out.String()
}
