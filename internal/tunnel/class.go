package tunnel

import "errors"

// failureClass tells kinds of failed connects apart by how soon another attempt
// makes sense.
type failureClass int

const (
	// classNetwork: nothing there that speaks SSH, or not for long. It may be
	// back any moment, and asking costs nobody anything.
	classNetwork failureClass = iota
	// classProtocol: something went wrong after the banner. sshd counts these,
	// and shuts out who does it often (PerSourcePenalties).
	classProtocol
	// classRefused: the host key or our authentication was not accepted. Only
	// a change of configuration helps, and insisting gets us banned.
	classRefused
	// classShutOut: the bastion refuses our address for now. All who come from it
	// wait, and knocking does not end it.
	classShutOut
)

// connectError is why a connect failed.
type connectError struct {
	class failureClass
	// cause is "" where the error within says it.
	cause Cause
	err   error
}

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// classOf returns the class of a connect's error.
func classOf(err error) failureClass {
	if c, ok := errors.AsType[*connectError](err); ok {
		return c.class
	}
	return classNetwork
}

// newFailure returns an error of a connect; cause is "" where err says it.
func newFailure(class failureClass, cause Cause, err error) error {
	return &connectError{class, cause, err}
}
