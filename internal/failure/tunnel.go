package failure

import (
	"errors"
	"fmt"
	"time"
)

// ErrClosed is returned by dials through a configuration that was closed before it was
// started, and through a tunnel whose drain_timeout has passed.
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
