package failure

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/crypto/ssh"
)

// ErrConnectTimeout is the cause of a connect that took too long.
var ErrConnectTimeout = errors.New("connect_timeout")

// ErrPreAuthLimit ends a connection on which the server sends too much before it lets us
// in.
var ErrPreAuthLimit = errors.New("it sent more than 4 MiB before it let us in")

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
	// Authorize is a key that Caddy has generated, and that the bastion has refused; or nil.
	Authorize ssh.PublicKey
}

func (e *AuthError) Error() string { return e.Message }

// NotSSHError is returned by a connect when something else than an SSH banner
// arrives.
type NotSSHError struct {
	// Message says what arrived.
	Message string
	// Fix is what helps.
	Fix string

	Class Class
	Cause Cause
}

func (e *NotSSHError) Error() string { return e.Message }

// TimeoutError is returned when a context ends before the tunnel is connected or before
// the bastion has answered. It is a net.Error.
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

var _ net.Error = (*TimeoutError)(nil)
