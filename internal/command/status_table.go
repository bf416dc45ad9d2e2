package command

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// statusTable returns a table of tunnels. What is wrong with one stands below it.
func statusTable(tunnels []adminapi.Status, now time.Time) string {
	if len(tunnels) == 0 {
		return "no tunnel is configured\n"
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "TUNNEL\tSTATE\tHOST\tSINCE\tRTT\tCONNECTIONS\tCHANNELS\tIN\tOUT")
	for i := range tunnels {
		_, _ = fmt.Fprintln(w, strings.Join(statusRow(&tunnels[i], now), "\t"))
	}
	_ = w.Flush()

	// Remarks would be cells of the table, so they come between its lines later.
	var text strings.Builder
	head, rows, _ := strings.Cut(table.String(), "\n")
	text.WriteString(head + "\n")
	i := 0
	for row := range strings.Lines(rows) {
		text.WriteString(row)
		for _, remark := range tunnels[i].Remarks(now) {
			text.WriteString("  " + printable.Line(remark.String()) + "\n")
		}
		i++
	}
	return text.String()
}

// statusRow returns the cells of a tunnel.
func statusRow(s *adminapi.Status, now time.Time) []string {
	rtt := "-"
	if s.RTT > 0 {
		rtt = printable.Duration(s.RTT.Duration())
	}
	return []string{
		s.Tunnel, string(s.State), s.Where(), printable.Duration(now.Sub(s.Since)), rtt, s.ConnectionCount(),
		fmt.Sprint(s.Channels), printable.Bytes(s.Received), printable.Bytes(s.Sent),
	}
}
