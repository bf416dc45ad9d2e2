package command

import (
	"fmt"
	"math/big"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// expiryShown is how long before its end the table shows a certificate's.
const expiryShown = 24 * time.Hour

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
		for _, remark := range statusRemarks(&tunnels[i], now) {
			text.WriteString("  " + printableText(remark) + "\n")
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
	draining := 0
	for _, c := range s.Connections {
		if c.Class == report.ClassDraining {
			draining++
		}
	}
	connections := fmt.Sprint(len(s.Connections) - draining)
	if draining > 0 {
		connections += fmt.Sprintf(" + %d draining", draining)
	}
	return []string{
		s.Tunnel, string(s.State), hostCell(s), printable.Duration(now.Sub(s.Since)), rtt, connections,
		fmt.Sprint(s.Channels), byteSize(s.Received), byteSize(s.Sent),
	}
}

// hostCell names the bastion, or the first that is to be one.
func hostCell(s *adminapi.Status) string {
	cell := s.Host
	if cell == "" && len(s.Hosts) > 0 {
		if cell = s.Hosts[0]; len(s.Hosts) > 1 {
			cell += fmt.Sprintf(" or %d more", len(s.Hosts)-1)
		}
	}
	if s.ProxyJump != "" {
		cell += " via " + s.ProxyJump
	}
	return cell
}

// statusRemarks returns what somebody should know who looks after the tunnel.
func statusRemarks(s *adminapi.Status, now time.Time) (remarks []string) {
	if s.State != report.StateUp && s.State != report.StateIdle {
		var parts []string
		if e := s.LastError; e != nil {
			parts = append(parts, fmt.Sprintf("%s %s ago", e.Cause, printable.Duration(now.Sub(e.Time))))
		}
		if s.NextRetry != nil {
			parts = append(parts, "tries again in "+printable.Duration(max(0, s.NextRetry.Sub(now))))
		}
		if len(parts) > 0 {
			remark := strings.Join(parts, ", ")
			if s.LastError != nil {
				remark += ": " + s.LastError.Error // last, for it may be long
			}
			remarks = append(remarks, remark)
		}
	}
	for _, a := range s.Attempts {
		// One at another host says why the tunnel is not there, and nothing of this one.
		if s.State == report.StateUp && a.Host == s.Host && a.Error != "" {
			again := ""
			if s.NextRetry != nil {
				again = ", tries again in " + printable.Duration(max(0, s.NextRetry.Sub(now)))
			}
			remarks = append(remarks, fmt.Sprintf("another connection failed: %s %s ago%s: %s", a.Cause, printable.Duration(now.Sub(a.Started)), again, a.Error))
		}
	}
	if n := s.WaitingDials; n > 0 && s.State == report.StateUp {
		remarks = append(remarks, fmt.Sprintf("full: %d dials wait for a channel", n))
	}
	if p := s.Prohibited; p != nil {
		remarks = append(remarks, fmt.Sprintf("%s %s ago: %s", p.Cause, printable.Duration(now.Sub(p.Time)), p.Error))
	}
	if t := s.CertificateExpires; t != nil {
		switch left := t.Sub(now); {
		case left <= 0:
			remarks = append(remarks, "certificate expired "+printable.Duration(-left)+" ago")
		case left < expiryShown:
			remarks = append(remarks, "certificate expires in "+printable.Duration(left))
		}
	}
	for _, f := range s.Forwards {
		if f.State == remote.Listening || f.State == remote.Waiting && s.State != report.StateUp {
			continue
		}
		remark := fmt.Sprintf("%s %s: %s", f.Kind, f.Listen, f.State)
		if f.Error != "" {
			remark += ": " + f.Error
		}
		remarks = append(remarks, remark)
	}
	return remarks
}

// byteSize writes a number of bytes.
func byteSize(n int64) string { return humanize.BigIBytes(big.NewInt(n)) }

// printableText keeps a bastion's words from driving the terminal.
func printableText(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		default:
			return r
		}
	}, s)
}
