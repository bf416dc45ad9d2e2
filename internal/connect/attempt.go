package connect

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// The steps of an attempt to connect to a host, in their order.
const (
	// StepReach is the connection to the bastion: TCP, a proxy, a command or a
	// channel of the tunnel jumped through.
	StepReach = "reach"
	// StepBanner is the bastion's first line (RFC 4253 section 4.2).
	StepBanner = "banner"
	// StepKeyExchange is the key exchange (RFC 4253 section 7), the bastion's
	// proof that it has its host key included.
	StepKeyExchange = "key_exchange"
	// StepHostKey is our verdict on the host key.
	StepHostKey = "host_key"
	// StepAuthentication is the authentication (RFC 4252).
	StepAuthentication = "authentication"
)

// Attempt is one attempt to connect to a host: how far it got, and how long that
// took.
type Attempt struct {
	// Host is the bastion's "host:port".
	Host string `json:"host"`
	// Started is when it began.
	Started time.Time `json:"started"`
	// Steps are those that have succeeded, in their order.
	Steps []Step `json:"steps"`
	// Remote is the address that was connected to: the bastion's, its proxy's.
	Remote string `json:"remote,omitempty"`
	// Server is the bastion's version, as in "SSH-2.0-OpenSSH_9.2".
	Server string `json:"server,omitempty"`
	// Algorithms are those that were agreed on.
	Algorithms *algorithms.Negotiated `json:"algorithms,omitempty"`
	// HostKey is the fingerprint of the host key, and HostKeySource what it is
	// known by: "host_key", or the file and line.
	HostKey       string `json:"host_key,omitempty"`
	HostKeySource string `json:"host_key_source,omitempty"`
	// User is whom the bastion knows us as, and Authentication what it accepted,
	// as in "publickey SHA256:… (/home/u/.ssh/id_ed25519)".
	User           string `json:"user,omitempty"`
	Authentication string `json:"authentication,omitempty"`
	// Certificates are those that it was let in with.
	Certificates []UsedCertificate `json:"certificates,omitempty"`
	// Failed is the step that did not succeed, or "".
	Failed string `json:"failed,omitempty"`
	// Cause and Error are why.
	Cause failure.Cause `json:"cause,omitempty"`
	Error string        `json:"error,omitempty"`
}

// UsedCertificate is a certificate that a connection was let in with.
type UsedCertificate struct {
	// KeyID is the name that its authority has given it.
	KeyID string `json:"key_id"`
	// Path is its file, or "" if the agent holds it.
	Path string `json:"path,omitempty"`
	// Expires is when it does, or nil for never.
	Expires *time.Time `json:"expires,omitempty"`
	// PermitsForwarding reports whether it has the extension
	// permit-port-forwarding. Without it, OpenSSH refuses every channel.
	PermitsForwarding bool `json:"permits_forwarding"`
}

func usedCertificates(certificates []sshauth.Certificate) (used []UsedCertificate) {
	for _, c := range certificates {
		u := UsedCertificate{KeyID: printable.Text(c.KeyId), Path: c.Path, PermitsForwarding: c.PermitsForwarding()}
		if end := algorithms.ValidUntil(c.Certificate); !end.IsZero() {
			u.Expires = &end
		}
		used = append(used, u)
	}
	return used
}

// LoginTime returns how long the host took once it was reached: neither the way there
// is in it nor the wait for a turn or for other hosts.
func (a *Attempt) LoginTime() (took time.Duration) {
	for _, s := range a.Steps {
		if s.Name != StepReach {
			took += s.Took.Duration()
		}
	}
	return took
}

// Step is a step that has succeeded.
type Step struct {
	// Name is one of the Step constants.
	Name string `json:"name"`
	// Took is how long it has taken.
	Took Seconds `json:"took"`
}

// Seconds is a duration as JSON and logs have it.
type Seconds float64

// Duration returns it as Go has it.
func (s Seconds) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// SecondsOf returns a duration as JSON and logs have it.
func SecondsOf(d time.Duration) Seconds { return Seconds(d.Seconds()) }

// attemptLog records an attempt while that is made. A handshake's callbacks come
// from goroutines of x/crypto's, which may outlive it.
type attemptLog struct {
	// mu guards the fields below.
	mu      sync.Mutex
	attempt Attempt
	// last is when the last step ended, progress when there last was any: within the
	// authentication, too.
	last, progress time.Time
}

func newAttemptLog(h *Host) *attemptLog {
	now := time.Now()
	return &attemptLog{attempt: Attempt{Host: h.Address, Started: now, Steps: []Step{}}, last: now, progress: now}
}

// restart forgets the steps from reaching the host on: it is reached once more.
func (l *attemptLog) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempt.Steps = []Step{}
	l.last = time.Now()
	l.progress = l.last
}

// done records a step that has ended now, and what is known by it.
func (l *attemptLog) done(step string, note func(a *Attempt)) { l.doneAt(time.Now(), step, note) }

// doneAt records a step, unless it is recorded already.
func (l *attemptLog) doneAt(now time.Time, step string, note func(a *Attempt)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress = time.Now()
	if note != nil {
		note(&l.attempt)
	}
	if slices.ContainsFunc(l.attempt.Steps, func(s Step) bool { return s.Name == step }) {
		return
	}
	l.attempt.Steps = append(l.attempt.Steps, Step{step, SecondsOf(max(0, now.Sub(l.last)))})
	l.last = now
}

// lastProgress is when a step last ended, or the bastion last answered to what we
// authenticate with.
func (l *attemptLog) lastProgress() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.progress
}

// end returns the record of an attempt that has failed with err, or succeeded if
// that is nil.
func (l *attemptLog) end(err error) *Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.attempt
	a.Steps = slices.Clone(a.Steps)
	if err != nil {
		a.Cause, a.Error = failure.CauseOf(err), err.Error()
		a.Failed = failedStep(a.Cause, a.Steps)
	}
	return &a
}

// failedStep returns which step a cause has kept from succeeding.
func failedStep(cause failure.Cause, done []Step) string {
	switch cause {
	case failure.CauseHostKeyUnknown, failure.CauseHostKeyMismatch, failure.CauseHostKeyRefused:
		return StepHostKey
	case failure.CauseNoCredentials, failure.CauseKeyRefused, failure.CauseCertificateExpired, failure.CausePasswordRefused, failure.CauseSecondFactor, failure.CauseAuthentication:
		return StepAuthentication
	case failure.CauseNotSSH, failure.CauseNoBanner:
		return StepBanner
	case failure.CauseKeyExchange:
		return StepKeyExchange
	}
	order := []string{StepReach, StepBanner, StepKeyExchange, StepHostKey, StepAuthentication}
	return order[min(len(done), len(order)-1)]
}
