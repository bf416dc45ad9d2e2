package tunnel

import (
	"context"
	"errors"
	"net"
	"os"
)

// reachCause returns why the bastion could not be connected to, at all.
func reachCause(cfg *Config, err error) Cause {
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case cfg.Proxy != nil || len(cfg.ProxyCommand) > 0:
		return CauseProxy
	case isDNS && !dns.IsTimeout:
		return CauseUnknownName
	case errors.Is(err, errConnectTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return CauseNoAnswer
	}
	switch connectReason(err.Error()) { // errno differs by system, its text less
	case OpenRefused:
		return CauseRefused
	case OpenUnknownName:
		return CauseUnknownName
	case OpenTimedOut:
		return CauseNoAnswer
	default:
		return CauseUnreachable
	}
}
