package main

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// plot.go draws results as an SVG: bars of how fast the tunnel and ssh -L are,
// where Caddy without either is 1. It has a background of its own, so that it
// is legible on light and dark pages.

// Measures of the plot, in pixels.
const (
	plotWidth  = 760
	plotLeft   = 330 // where the bars begin
	plotRight  = 690 // where they end, at plotMax; their figures come after
	plotTop    = 74
	plotBar    = 11
	plotGroup  = 34
	plotBottom = 40
	plotMax    = 1.2
)

// plotColors are those of the bars.
var plotColors = map[variant]string{tunnel: "#2b6cb0", sshL: "#d08b3d"}

// plotRow is two bars.
type plotRow struct {
	title string
	speed map[variant]float64
}

// plotRows picks the metrics that have a place in the plot. Speeds are against
// that without a tunnel, in the same round; for times, that is the inverse.
func plotRows(r results) []plotRow {
	var rows []plotRow
	for _, w := range r.Workloads {
		if len(w.Names) > 0 {
			continue // its ways are not those of the legend
		}
		for _, m := range w.Metrics {
			if !m.InPlot || len(m.Rounds[direct]) == 0 {
				continue
			}
			row := plotRow{title: w.Title, speed: make(map[variant]float64)}
			if m.Key != "rate" && m.Title != "" {
				row.title += ": " + m.Title
			}
			for v, of := range map[variant]variant{tunnel: tunnel, sshL: w.sameCipher()} {
				if speed := plotSpeed(m, of); speed > 0 {
					row.speed[v] = speed
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// sameCipher is the variant of `ssh -L` that has the cipher of the tunnel, where
// that was measured, or what is next to it.
func (w workloadResult) sameCipher() variant {
	if slices.Contains(w.Ways, sshLGCM) {
		return sshLGCM
	}
	return w.rival()
}

// plotSpeed is how fast a variant was against none, by the median of the rounds;
// zero if that is not known.
func plotSpeed(m metricResult, v variant) float64 {
	var speeds []float64
	for i, base := range m.Rounds[direct] {
		if i >= len(m.Rounds[v]) || base == 0 || m.Rounds[v][i] == 0 {
			continue
		}
		speed := m.Rounds[v][i] / base
		if m.LowerIsBetter {
			speed = 1 / speed
		}
		speeds = append(speeds, speed)
	}
	if len(speeds) == 0 {
		return 0
	}
	return median(speeds)
}

// plot draws the results.
func plot(r results) string {
	rows := plotRows(r)
	bottom := plotTop + plotGroup*len(rows)
	height := bottom + plotBottom
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }

	line(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" font-size="12" fill="#24292f">`,
		plotWidth, height, plotWidth, height)
	line(`<title>Speed of Caddy through an SSH tunnel, against Caddy without one</title>`)
	line(`<rect width="%d" height="%d" rx="8" fill="#f6f8fa"/>`, plotWidth, height)
	line(`<text x="20" y="28" font-size="15" font-weight="600">Speed through SSH, where Caddy without a tunnel is 1</text>`)
	x := 20
	for _, v := range []variant{tunnel, sshL} {
		name := map[variant]string{tunnel: "Caddy with ssh_tunnel", sshL: "Caddy in front of ssh -L"}[v]
		line(`<rect x="%d" y="41" width="11" height="11" fill="%s"/>`, x, plotColors[v])
		line(`<text x="%d" y="51">%s</text>`, x+17, name)
		x += 170
	}
	line(`<text x="%d" y="51" text-anchor="end" fill="#57606a">longer is faster</text>`, plotWidth-20)
	for tick := 0.0; tick < plotMax; tick += 0.25 {
		at, color := plotX(tick), "#d0d7de"
		if tick == 1 {
			color = "#57606a"
		}
		line(`<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>`, at, plotTop-8, at, bottom, color)
		line(`<text x="%.1f" y="%d" text-anchor="middle" fill="#57606a">%.4g</text>`, at, bottom+18, tick)
	}
	for i, row := range rows {
		y := plotTop + i*plotGroup
		line(`<text x="%d" y="%d" text-anchor="end">%s</text>`, plotLeft-12, y+15, escape(row.title))
		for _, v := range []variant{tunnel, sshL} {
			speed, ok := row.speed[v]
			if !ok {
				continue
			}
			end := plotX(min(speed, plotMax))
			line(`<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, plotLeft, y, end-plotLeft, plotBar, plotColors[v])
			line(`<text x="%.1f" y="%d" font-size="11">%s</text>`, end+5, y+plotBar-1, number(speed))
			y += plotBar + 1
		}
	}
	line(`</svg>`)
	return out.String()
}

// plotX is where a speed stands.
func plotX(speed float64) float64 {
	return plotLeft + speed/plotMax*(plotRight-plotLeft)
}

// escape is text within XML.
func escape(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a Builder takes everything
	return out.String()
}
