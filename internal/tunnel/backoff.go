package tunnel

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

const (
	// networkCap is the longest delay after failures of classNetwork.
	networkCap = 5 * time.Second
	// refusedCap is the delay after failures of classRefused once refusedSteps
	// are used up.
	refusedCap = 10 * time.Minute
	// shutOutMin is the delay after the first failure of classShutOut. It doubles
	// each time, up to refusedCap: OpenSSH's penalties last from 15 seconds to 10
	// minutes, but it may have been no more than MaxStartups.
	shutOutMin = time.Second
	// settled is how long a connection must have lasted to forget the failures
	// before it.
	settled = 10 * time.Second
)

// refusedSteps are the delays after the first failures of classRefused: room
// for a mistake that is mended at once.
var refusedSteps = []time.Duration{time.Second, 3 * time.Second, 6 * time.Second}

// askedPace is the least time between the starts of two attempts while dials
// ask for one. No dial hastens an attempt that would be refused again, or while
// we are shut out.
var askedPace = map[failure.Class]time.Duration{
	failure.ClassNetwork:  time.Second,
	failure.ClassProtocol: 5 * time.Second,
}

// demandedPace is the same where we were refused and a person demands another
// attempt.
const demandedPace = 5 * time.Second

// backoff is the delay before the next attempt after n failures in a row.
func backoff(class failure.Class, n int, set Settings) time.Duration {
	if class == failure.ClassRefused {
		if n <= len(refusedSteps) {
			return refusedSteps[n-1]
		}
		return jitter(refusedCap)
	}
	delay, most := set.ReconnectMin, set.ReconnectMax
	switch class {
	case failure.ClassNetwork:
		most = max(min(most, networkCap), delay)
	case failure.ClassShutOut:
		delay, most = shutOutMin, refusedCap
	}
	for i := 1; i < n && delay < most; i++ {
		delay *= 2
	}
	return jitter(min(delay, most))
}

// patience returns the class whose delays are right after a failure: there is no
// hurry where other connections serve.
func patience(class failure.Class, served bool) failure.Class {
	if served {
		return max(class, failure.ClassProtocol)
	}
	return class
}

// jitter keeps many tunnels from knocking at the same moment.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/4) //nolint:gosec // no secret
}
