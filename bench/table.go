package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// table.go renders a run as tables in Markdown, which is also what a terminal
// shows.

// Columns of the tables. CPU is that of one request, or of a gigabyte.
var (
	costColumns = []string{
		"workload", "way", "CPU: Caddy · `ssh` · sshd", "throughput", "p99",
		"CPU of `ssh_tunnel` against it", "speed of `ssh_tunnel` against it",
	}
	figureColumns = []string{
		"workload", "figure", "no tunnel", "`ssh_tunnel`", "`ssh -L`", "against `ssh -L`", "against no tunnel",
	}
)

// wayTitles are the usual ones.
var wayTitles = map[variant]string{
	direct: "no tunnel", tunnel: "`ssh_tunnel`", sshL: "`ssh -L`", sshLGCM: "`ssh -L`, same cipher",
	sshR: "`ssh -R`",
}

// wayTitle returns what stands for a variant.
func (w workloadResult) wayTitle(v variant) string {
	for _, titles := range []map[variant]string{w.Names, wayTitles, tuningTitles} {
		if title, ok := titles[v]; ok {
			return title
		}
	}
	return string(v)
}

// tables returns both tables of a run, with their caption.
func tables(r results) string {
	costs, figures := [][]string{costColumns}, [][]string{figureColumns}
	for _, w := range r.Workloads {
		costs = append(costs, costRows(w)...)
		figures = append(figures, figureRows(w)...)
	}
	var out strings.Builder
	if len(costs) > 1 {
		out.WriteString(alignRows(costs, 2) + "\n")
	}
	if len(figures) > 1 {
		out.WriteString(alignRows(figures, 2) + "\n")
	}
	return out.String() + caption(r) + "\n"
}

// caption says how the figures came about.
func caption(r results) string {
	medians := fmt.Sprintf("Medians of %d rounds; ratios with the smallest and the largest in parentheses.", r.Settings.Rounds)
	if r.Settings.Rounds == 1 {
		medians = "1 round."
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s. Load: %s. %s", medians, r.Environment, r.Settings.LoadGenerator, r.noiseReport())
	if list := r.swings(); len(list) > 0 {
		text.WriteString(" From round to round these differ much: " + strings.Join(list, "; ") + ".")
	}
	for _, missing := range r.NotMeasured {
		text.WriteString(" Not measured: " + missing + ".")
	}
	return wrap(text.String(), 100)
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

// main returns the metric that stands for a workload's throughput: the first in
// the table, if it is known what CPU time that took.
func (w workloadResult) main() *metricResult {
	if w.metric(cpuCaddy) == nil {
		return nil
	}
	for i := range w.Metrics {
		if w.Metrics[i].InTable {
			return &w.Metrics[i]
		}
	}
	return nil
}

// costRows are those of one workload in the first table: one for each way.
func costRows(w workloadResult) (rows [][]string) {
	m := w.main()
	if m == nil {
		return nil
	}
	title := fmt.Sprintf("%s (`%s`)", w.Title, w.ID)
	if m.Key != "rate" {
		title = fmt.Sprintf("%s, %s (`%s`)", w.Title, m.Title, w.ID)
	}
	for _, v := range w.Ways {
		if _, ok := m.Median[v]; !ok {
			continue
		}
		row := []string{title, w.wayTitle(v), w.cpuCell(v), m.value(v), "", "", ""}
		if p99 := w.metric("p99"); p99 != nil {
			row[4] = p99.value(v)
		}
		if s, ok := w.ratio(cpuClient, v); ok {
			row[5] = spreadCell(s)
		}
		if s, ok := w.speedRatio(m.Key, v); ok {
			row[6] = spreadCell(s)
		}
		rows = append(rows, row)
		title = ""
	}
	return rows
}

// figureRows are those of one workload in the second table: one for each metric
// that is not in the first.
func figureRows(w workloadResult) (rows [][]string) {
	title := fmt.Sprintf("%s (`%s`)", w.Title, w.ID)
	first, other := w.main(), w.rival()
	for _, m := range w.Metrics {
		if !m.InTable || first != nil && (m.Key == first.Key || m.Key == "p99") {
			continue
		}
		row := []string{title, m.Title, m.value(direct), m.value(tunnel), m.value(other), "", ""}
		for i, v := range []variant{other, direct} {
			if s, ok := m.Ratios[v]; ok {
				row[5+i] = spreadCell(s) //nolint:gosec // G602: there are two variants
			}
		}
		rows = append(rows, row)
		title = ""
	}
	return rows
}

// rival is the variant that has the place of `ssh -L`: the first that is neither
// the tunnel nor none.
func (w workloadResult) rival() variant {
	for _, v := range w.Ways {
		if v != direct && v != tunnel {
			return v
		}
	}
	return sshL
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

// cpuCell is the time of Caddy, ssh and sshd.
func (w workloadResult) cpuCell(v variant) string {
	var cells []string
	for _, key := range []string{cpuCaddy, cpuSSH, cpuSSHD} {
		cell := "–"
		if m := w.metric(key); m != nil {
			if x, ok := m.Median[v]; ok {
				cell = number(x)
			}
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, " · ") + unit(w.metric(cpuCaddy).Unit)
}

// spreadCell is a ratio with its sign, and where it was in the rounds.
func spreadCell(s spread) string {
	if number(s.Low) == number(s.High) {
		return number(s.Median) + "×"
	}
	return fmt.Sprintf("%s× (%s–%s)", number(s.Median), number(s.Low), number(s.High))
}

func (s spread) String() string { return fmt.Sprintf("%s–%s", number(s.Low), number(s.High)) }

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
// The first columns are words, the others figures.
func alignRows(rows [][]string, words int) string {
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
			if i < words {
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
			if i >= words {
				line = line[:len(line)-1] + ":"
			}
			out.WriteString(line)
		}
		out.WriteString("|\n")
	}
	return out.String()
}
