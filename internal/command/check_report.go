package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remedy"
)

// checkReport is about all tunnels that were checked.
type checkReport struct {
	OK      bool            `json:"ok"`
	Config  string          `json:"config,omitempty"`
	Tunnels []*tunnelReport `json:"tunnels"`
}

// tunnelReport is about a tunnel and what it goes through.
type tunnelReport struct {
	Tunnel string `json:"tunnel"`
	OK     bool   `json:"ok"`
	// Hops are the bastions on the way, in their order, and the tunnel's own; of
	// several hosts each.
	Hops []*hopReport `json:"hops"`
}

// hopReport is about a bastion.
type hopReport struct {
	// Hop is the tunnel's name, or "ssh_config" and an alias.
	Hop   string       `json:"hop"`
	Host  string       `json:"host,omitempty"`
	OK    bool         `json:"ok"`
	Steps []*checkStep `json:"steps"`
}

// Steps besides those of a connect.Attempt.
const (
	stepConfiguration = "configuration"
	stepCertificate   = "certificate"
	stepForwarding    = "forwarding"
	stepTarget        = "target"
)

// loginSteps are those of a login.
var loginSteps = []string{connect.StepReach, connect.StepBanner, connect.StepKeyExchange, connect.StepHostKey, connect.StepAuthentication}

// checkStep is one step, and how it went.
type checkStep struct {
	Step string `json:"step"`
	// Target is what is dialed, in the step "target".
	Target string `json:"target,omitempty"`
	OK     bool   `json:"ok"`
	// NotReached says that a step before it has failed, or a hop.
	NotReached bool `json:"not_reached,omitempty"`
	// Took is how long it has taken; zero where it takes no time.
	Took   connect.Seconds `json:"took,omitempty"`
	Detail string          `json:"detail,omitempty"`
	// Cause is a failure.Cause, or the word of a failure.OpenReason.
	Cause failure.Cause `json:"cause,omitempty"`
	Error string        `json:"error,omitempty"`
	Fix   string        `json:"fix,omitempty"`
	// Warnings are what may be wrong besides.
	Warnings []string `json:"warnings,omitempty"`
}

// add adds a step, and keeps OK.
func (h *hopReport) add(steps ...*checkStep) {
	for _, s := range steps {
		h.Steps = append(h.Steps, s)
		h.OK = h.OK && s.OK
	}
}

// trouble is the error of the step that has failed.
func (h *hopReport) trouble() string {
	for _, s := range h.Steps {
		if s.Error != "" {
			return s.Error
		}
	}
	return ""
}

// print prints the report for people.
func (t *tunnelReport) print(w io.Writer) {
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
func (h *hopReport) title(of string) string {
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
func (s *checkStep) name() string {
	if s.Step == stepTarget {
		return s.Target
	}
	return strings.ReplaceAll(s.Step, "_", " ")
}

// why is the cause, and what it means.
func (s *checkStep) why() string {
	means := remedy.ByCause[s.Cause].Means
	for _, reason := range failure.OpenReasons() {
		if (s.Step == stepTarget || s.Step == stepForwarding) && failure.Cause(reason.Word()) == s.Cause {
			means = remedy.ByReason[reason].Means
		}
	}
	return string(s.Cause) + ": " + means
}

func (s *checkStep) print(w io.Writer, width int) {
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
