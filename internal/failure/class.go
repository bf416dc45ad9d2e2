package failure

import "errors"

// Class tells kinds of failed connects apart by how soon another attempt
// makes sense.
type Class int

const (
	// ClassNetwork: nothing there that speaks SSH, or not for long. It may be
	// back any moment, and asking costs nobody anything.
	ClassNetwork Class = iota
	// ClassProtocol: something went wrong after the banner. sshd counts these,
	// and shuts out who does it often (PerSourcePenalties).
	ClassProtocol
	// ClassRefused: the host key or our authentication was not accepted. Only
	// a change of configuration helps, and insisting gets us banned.
	ClassRefused
	// ClassShutOut: the bastion refuses our address for now. All who come from it
	// wait, and knocking does not end it.
	ClassShutOut
)

// Error is why a connect failed.
type Error struct {
	Class Class
	// Cause is "" where the error within says it.
	Cause Cause
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of a connect's error.
func ClassOf(err error) Class {
	if c, ok := errors.AsType[*Error](err); ok {
		return c.Class
	}
	return ClassNetwork
}

// New returns an error of a connect; cause is "" where err says it.
func New(class Class, cause Cause, err error) error {
	return &Error{class, cause, err}
}
