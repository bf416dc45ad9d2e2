package doctor

import (
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// TunnelReport is about a tunnel and what it goes through.
type TunnelReport struct {
	Tunnel string `json:"tunnel"`
	OK     bool   `json:"ok"`
	// Hops are the bastions on the way, in their order, and the tunnel's own; of
	// several hosts each.
	Hops []*HopReport `json:"hops"`
}

// HopReport is about a bastion.
type HopReport struct {
	// Hop is the tunnel's name, or "ssh_config" and an alias.
	Hop   string  `json:"hop"`
	Host  string  `json:"host,omitempty"`
	OK    bool    `json:"ok"`
	Steps []*Step `json:"steps"`
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

// Step is one step, and how it went.
type Step struct {
	// Step is its name: one of a connect.Attempt, "configuration", "certificate",
	// "forwarding" or "target".
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
func (h *HopReport) add(steps ...*Step) {
	for _, s := range steps {
		h.Steps = append(h.Steps, s)
		h.OK = h.OK && s.OK
	}
}

// trouble is the error of the step that has failed.
func (h *HopReport) trouble() string {
	for _, s := range h.Steps {
		if s.Error != "" {
			return s.Error
		}
	}
	return ""
}
