package doctor

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remedy"
)

// Print prints the report for people.
func (t *TunnelReport) Print(w io.Writer) {
	width := 0
	for _, h := range t.Hops {
		for _, s := range h.Steps {
			width = max(width, len(s.name()))
		}
	}
	verdict := "all is well"
	if !t.OK {
		verdict = "not well"
	}
	_, _ = fmt.Fprintf(w, "tunnel %s: %s\n", t.Tunnel, verdict)
	for _, h := range t.Hops {
		_, _ = fmt.Fprintf(w, "  %s\n", h.title(t.Tunnel))
		for _, s := range h.Steps {
			s.print(w, width)
		}
	}
}

// title names a bastion: a hop by what it is configured as, too.
func (h *HopReport) title(of string) string {
	switch {
	case h.Host == "":
		return h.Hop
	case h.Hop == of:
		return h.Host
	case strings.HasPrefix(h.Hop, "ssh_config "):
		return h.Host + " (" + h.Hop + ")"
	default:
		return h.Host + " (tunnel " + h.Hop + ")"
	}
}

// name is how a step is shown.
func (s *Step) name() string {
	if s.Step == stepTarget {
		return s.Target
	}
	return strings.ReplaceAll(s.Step, "_", " ")
}

// why is the cause, and what it means.
func (s *Step) why() string {
	means := remedy.ByCause[s.Cause].Means
	for _, reason := range failure.OpenReasons() {
		if (s.Step == stepTarget || s.Step == stepForwarding) && failure.Cause(reason.Word()) == s.Cause {
			means = remedy.ByReason[reason].Means
		}
	}
	return string(s.Cause) + ": " + means
}

func (s *Step) print(w io.Writer, width int) {
	mark, text := "✓", s.Detail
	switch {
	case s.NotReached:
		mark, text = "-", "not reached"
	case !s.OK:
		mark, text = "✗", s.why()
	}
	line := fmt.Sprintf("    %s %-*s  %6s  %s", mark, width, s.name(), tookText(s.Took), text)
	_, _ = fmt.Fprintln(w, strings.TrimRight(line, " "))
	if s.Error != "" {
		_, _ = fmt.Fprintf(w, "        %s\n", s.Error)
	}
	if s.Fix != "" {
		_, _ = fmt.Fprintf(w, "        fix: %s\n", s.Fix)
	}
	for _, warning := range s.Warnings {
		_, _ = fmt.Fprintf(w, "        warning: %s\n", warning)
	}
}

// tookText is a time for people.
func tookText(s connect.Seconds) string {
	switch d := s.Duration(); {
	case d == 0:
		return ""
	case d < time.Millisecond:
		return "<1ms"
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(100 * time.Millisecond).String()
	}
}
