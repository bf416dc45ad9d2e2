package dial

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

// CauseOf returns why Dial has failed.
func (d *Dialer) CauseOf(err error) failure.Cause {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case d.Proxy != nil || len(d.Command) > 0:
		return failure.CauseProxy
	case isDNS && !dns.IsTimeout:
		return failure.CauseUnknownName
	case errors.Is(err, failure.ErrConnectTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return failure.CauseNoAnswer
	}
	switch failure.ReasonOf(err.Error()) { // errno differs by system, its text less
	case failure.OpenRefused:
		return failure.CauseRefused
	case failure.OpenUnknownName:
		return failure.CauseUnknownName
	case failure.OpenTimedOut:
		return failure.CauseNoAnswer
	default:
		return failure.CauseUnreachable
	}
}
