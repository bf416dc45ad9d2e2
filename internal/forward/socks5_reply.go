package forward

import (
	"errors"
	"io"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// The codes of SOCKS replies (RFC 1928 section 6).
const (
	socksSucceeded       = 0
	socksFailure         = 1
	socksNotAllowed      = 2
	socksHostUnreachable = 4
	socksRefused         = 5
	socksBadCommand      = 7
	socksBadAddress      = 8
)

// socksError is a request that is refused with a code.
type socksError struct {
	code    byte
	message string
}

func (e *socksError) Error() string { return e.message }

// replySOCKS sends a reply. The address in it is to be the one that the target
// sees us at, which only the bastion knows.
func replySOCKS(w io.Writer, code byte) error {
	_, err := w.Write([]byte{socks5Version, code, 0, socksIPv4, 0, 0, 0, 0, 0, 0})
	return err
}

// socksCode is a failed dial in SOCKS's terms. A tunnel that is down is a
// general failure: nothing is known of the target then.
func socksCode(err error) byte {
	if _, ok := errors.AsType[*permit.DeniedError](err); ok {
		return socksNotAllowed
	}
	if _, ok := errors.AsType[*tunnel.DownError](err); ok {
		return socksFailure
	}
	if open, ok := errors.AsType[*failure.OpenError](err); ok {
		switch open.Reason {
		case failure.OpenProhibited:
			return socksNotAllowed
		case failure.OpenRefused:
			return socksRefused
		case failure.OpenUnreachable, failure.OpenUnknownName, failure.OpenTimedOut:
			return socksHostUnreachable
		}
		return socksFailure
	}
	if _, ok := errors.AsType[*tunnel.TimeoutError](err); ok {
		return socksHostUnreachable
	}
	return socksFailure
}
