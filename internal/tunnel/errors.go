package tunnel

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// ErrClosed is returned by dials on a Handle that was closed before it was
// started, and on a tunnel whose DrainTimeout has passed.
var ErrClosed = errors.New("tunnel closed")

// DownError is returned by a dial when the tunnel has no connection to its
// bastion and its last attempt to get one has failed.
type DownError struct {
	Tunnel string
	// Cause is why the last attempt failed.
	Cause error
	// RetryAfter is the time until the next attempt; at least one second.
	RetryAfter time.Duration
}

func (e *DownError) Error() string { return fmt.Sprintf("tunnel %q is down: %v", e.Tunnel, e.Cause) }
func (e *DownError) Unwrap() error { return e.Cause }

// TimeoutError is returned by a dial whose context ended before the tunnel was
// connected or before the bastion had answered. It is a net.Error.
type TimeoutError struct {
	Tunnel string
	// Doing says what was waited for, as in "opening channel to \"web:80\"".
	Doing string
	// Cause is the context's.
	Cause error
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("tunnel %q: %s: %v", e.Tunnel, e.Doing, e.Cause)
}
func (e *TimeoutError) Unwrap() error { return e.Cause }

// Timeout implements net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary implements net.Error.
func (e *TimeoutError) Temporary() bool { return true }

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
	// crowded tells that the reason may be how many channels the connection
	// has.
	crowded bool
}

func (e *OpenError) Error() string {
	s := fmt.Sprintf("tunnel %q: opening channel to %q: %s", e.Tunnel, e.Target, e.Reason)
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

// FullError is returned by a dial when every connection has as many channels as
// it takes, there can be no more connections, and the dial has waited in vain for a
// channel to end.
type FullError struct {
	Tunnel string
	// Connections is how many there are, Max how many there may be.
	Connections, Max int
	// Cause is why there are no more than that, or nil.
	Cause error
}

func (e *FullError) Error() string {
	s := fmt.Sprintf("tunnel %q is full: no room for a channel on %d of at most %d connections", e.Tunnel, e.Connections, e.Max)
	if e.Cause != nil {
		return fmt.Sprintf("%s, and no other can be had: %v", s, e.Cause)
	}
	return s + "; raise the most in option connections"
}

func (e *FullError) Unwrap() error { return e.Cause }

// HostKeyError is returned by a connect when the bastion's host key was not
// accepted.
type HostKeyError struct {
	// Message says what was offered, what was expected and from where, and the
	// fix.
	Message string
	// Offered is the SHA-256 fingerprint of the key that was offered.
	Offered string
	// Key is the key that was offered, or nil where none was asked for yet, as
	// by Check.
	Key ssh.PublicKey
	// Skipped are, for CauseHostKeyUnknown, lines of known_hosts files that may be
	// about the host and were skipped, and why; a few at most. Message has them, too.
	Skipped []string
	// Cause is CauseHostKeyUnknown if nothing is known about the host, otherwise
	// one of CauseHostKeyMismatch and CauseHostKeyRefused.
	Cause Cause
}

func (e *HostKeyError) Error() string { return e.Message }

// AuthError is returned by a connect when the bastion accepted none of what we
// have to authenticate with.
type AuthError struct {
	// Message says what was offered and what the bastion would take.
	Message string
	// Cause is one of CauseNoCredentials, CauseKeyRefused,
	// CauseCertificateExpired, CausePasswordRefused and CauseSecondFactor.
	Cause Cause
	// Fix is what helps, where more is known than by Cause; else "".
	Fix string
}

func (e *AuthError) Error() string { return e.Message }

var _ net.Error = (*TimeoutError)(nil)
