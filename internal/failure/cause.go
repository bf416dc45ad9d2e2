// Package failure says why connects and channel opens fail, in the words that
// status, log, metrics and the doctor share. It decides nothing and retries nothing.
// Any package may import it; it imports none of the project's.
package failure

import "errors"

// Cause is why a connect to a bastion has failed. There are few, so that a
// metric can have them as a label.
type Cause string

// The causes of a failed connect, in the order in which a connect meets them.
const (
	// CauseConfiguration is a file or a secret that cannot be used, before
	// anything was connected to.
	CauseConfiguration Cause = "configuration"
	// CauseJump is that the tunnel jumped through is down, or could not open the
	// channel.
	CauseJump Cause = "proxy_jump"
	// CauseProxy is that the proxy, or the proxy_command, did not connect us.
	CauseProxy Cause = "proxy"
	// CauseUnknownName is that the bastion's name does not resolve.
	CauseUnknownName Cause = "unknown_name"
	// CauseRefused is that nothing listens at the bastion's address.
	CauseRefused Cause = "connection_refused"
	// CauseUnreachable is that there is no way to the bastion's address.
	CauseUnreachable Cause = "unreachable"
	// CauseNoAnswer is that nothing has answered there within connect_timeout.
	CauseNoAnswer Cause = "no_answer"
	// CauseNoBanner is that something accepts connections and says nothing.
	CauseNoBanner Cause = "no_banner"
	// CauseNotSSH is that something answers which is no SSH server, or one that
	// shuts us out (MaxStartups, PerSourcePenalties).
	CauseNotSSH Cause = "not_ssh"
	// CauseKeyExchange is that the key exchange has failed, or was cut off.
	CauseKeyExchange Cause = "key_exchange"
	// CauseHostKeyUnknown is that nothing is known about the bastion's host key.
	CauseHostKeyUnknown Cause = "host_key_unknown"
	// CauseHostKeyMismatch is that the host key is another than is expected.
	CauseHostKeyMismatch Cause = "host_key_mismatch"
	// CauseHostKeyRefused is that the host key is revoked or too short, or its
	// certificate not valid.
	CauseHostKeyRefused Cause = "host_key_refused"
	// CauseNoCredentials is that there was nothing to log in with that the
	// bastion takes.
	CauseNoCredentials Cause = "no_credentials"
	// CauseKeyRefused is that the bastion accepts none of the keys.
	CauseKeyRefused Cause = "key_refused"
	// CauseCertificateExpired is the same, where a certificate has expired.
	CauseCertificateExpired Cause = "certificate_expired"
	// CausePasswordRefused is that the bastion rejects the password.
	CausePasswordRefused Cause = "password_refused"
	// CauseSecondFactor is that the bastion asks for a one-time code or something
	// else that no configuration has.
	CauseSecondFactor Cause = "second_factor"
	// CauseAuthentication is that the authentication was cut off, or did not end
	// within connect_timeout.
	CauseAuthentication Cause = "authentication"
	// CauseNotWaitedFor is that another host was quicker, or has failed.
	CauseNotWaitedFor Cause = "not_waited_for"
	// CauseOther is none of these.
	CauseOther Cause = "other"
)

// Causes are all causes.
var Causes = []Cause{
	CauseConfiguration, CauseJump, CauseProxy, CauseUnknownName, CauseRefused, CauseUnreachable, CauseNoAnswer,
	CauseNoBanner, CauseNotSSH, CauseKeyExchange, CauseHostKeyUnknown, CauseHostKeyMismatch, CauseHostKeyRefused,
	CauseNoCredentials, CauseKeyRefused, CauseCertificateExpired, CausePasswordRefused, CauseSecondFactor,
	CauseAuthentication,
	CauseNotWaitedFor, CauseOther,
}

// CauseLost is the cause, in a status, of a connection that was there and was
// lost.
const CauseLost Cause = "lost"

// CauseProhibited is the cause, in a status, of a channel or a forward that the
// bastion prohibited.
const CauseProhibited Cause = "prohibited"

// CauseOf returns the cause of a connect's error, or of a dial's where the
// tunnel is down; of one with several, the first.
func CauseOf(err error) Cause {
	if c, ok := errors.AsType[*Error](err); ok && c.Cause != "" {
		return c.Cause
	}
	if k, ok := errors.AsType[*HostKeyError](err); ok {
		return k.Cause
	}
	if a, ok := errors.AsType[*AuthError](err); ok {
		return a.Cause
	}
	return CauseOther
}
