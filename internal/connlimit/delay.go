package connlimit

import (
	"math/rand/v2"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
)

const (
	// NetworkMax is the longest delay after failures of failure.ClassNetwork.
	NetworkMax = 5 * time.Second
	// refusedMax is the delay after failures of failure.ClassRefused once
	// refusedSteps are used up.
	refusedMax = 10 * time.Minute
	// shutOutMin is the delay after the first failure of failure.ClassShutOut. It
	// doubles each time, up to refusedMax: OpenSSH's penalties last from 15 seconds to
	// 10 minutes, but it may have been no more than MaxStartups.
	shutOutMin = time.Second
	// Settled is how long a connection must have lasted to forget the failures before
	// it.
	Settled = 10 * time.Second
	// forcedPace is demandPace where we were refused and a person demands another
	// attempt.
	forcedPace = 5 * time.Second
)

// refusedSteps are the delays after the first failures of failure.ClassRefused: room
// for a mistake that is fixed at once.
var refusedSteps = []time.Duration{time.Second, 3 * time.Second, 6 * time.Second}

// demandPace is the least time between the starts of two attempts while dials wait for
// one. No dial hastens an attempt that would be refused again, or while we are shut
// out.
var demandPace = map[failure.Class]time.Duration{
	failure.ClassNetwork:  time.Second,
	failure.ClassProtocol: 5 * time.Second,
}

// Delay bounds the delay before a reconnect.
type Delay struct{ Min, Max time.Duration }

// after is the delay before the next attempt after n failures in a row.
func (d Delay) after(class failure.Class, n int) time.Duration {
	if class == failure.ClassRefused {
		if n <= len(refusedSteps) {
			return refusedSteps[n-1]
		}
		return jitter(refusedMax)
	}
	delay, most := d.Min, d.Max
	switch class {
	case failure.ClassNetwork:
		most = max(min(most, NetworkMax), delay)
	case failure.ClassShutOut:
		delay, most = shutOutMin, refusedMax
	}
	for i := 1; i < n && delay < most; i++ {
		delay *= 2
	}
	return jitter(min(delay, most))
}

// pace returns the class whose delays are right after a failure: there is no hurry
// where other connections serve.
func pace(class failure.Class, served bool) failure.Class {
	if served {
		return max(class, failure.ClassProtocol)
	}
	return class
}

// jitter keeps many tunnels from knocking at the same moment.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/4) //nolint:gosec // no secret
}
