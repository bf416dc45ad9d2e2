package failure

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// OpenReason says in which way the bastion refused a channel (RFC 4254
// section 5.1, with the causes that sshd puts in the text told apart).
type OpenReason string

// The reasons for which a channel is refused.
const (
	OpenProhibited  OpenReason = "administratively prohibited"
	OpenRefused     OpenReason = "connection refused"
	OpenUnknownName OpenReason = "unknown name"
	OpenUnreachable OpenReason = "unreachable"
	OpenTimedOut    OpenReason = "timed out"
	OpenFailed      OpenReason = "connect failed"
	OpenUnsupported OpenReason = "unknown channel type"
	OpenShortage    OpenReason = "resource shortage"
	OpenPending     OpenReason = "too many unanswered opens"
)

// OpenError is returned by a dial when the bastion is connected but would not,
// or could not, open the channel to the target.
type OpenError struct {
	Tunnel, Target string
	Reason         OpenReason
	// Detail is what the bastion said, or where to look; it may be empty.
	Detail string
	// Crowded says that the reason may be how many channels the connection
	// has.
	Crowded bool
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("tunnel %q: opening channel to %q: %s", e.Tunnel, e.Target, e.Why())
}

// Why is the reason with its detail.
func (e *OpenError) Why() string {
	if e.Detail == "" {
		return string(e.Reason)
	}
	return fmt.Sprintf("%s (%s)", e.Reason, e.Detail)
}

// Word is the reason as metrics, and the doctor, have it: "connection_refused".
func (r OpenReason) Word() string { return reasonWords[r] }

// OpenReasons are all reasons.
func OpenReasons() []OpenReason { return slices.Sorted(maps.Keys(reasonWords)) }

// reasonWords are the reasons as metrics have them.
var reasonWords = map[OpenReason]string{
	OpenProhibited:  "prohibited",
	OpenRefused:     "connection_refused",
	OpenUnknownName: "unknown_name",
	OpenUnreachable: "unreachable",
	OpenTimedOut:    "timed_out",
	OpenFailed:      "connect_failed",
	OpenUnsupported: "unknown_channel_type",
	OpenShortage:    "resource_shortage",
	OpenPending:     "too_many_pending",
}

// ReasonOf reads the text that servers send with "connect failed": the
// C library's words for errno and getaddrinfo.
func ReasonOf(message string) OpenReason {
	m := strings.ToLower(message)
	contains := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(m, w) {
				return true
			}
		}
		return false
	}
	switch {
	case contains("refused"):
		return OpenRefused
	case contains("name or service not known", "name resolution", "no such host", "no address associated", "unknown host", "nodename nor servname", "does not resolve"):
		return OpenUnknownName
	case contains("unreachable", "no route to host"):
		return OpenUnreachable
	case contains("timed out", "timeout"):
		return OpenTimedOut
	default:
		return OpenFailed
	}
}
