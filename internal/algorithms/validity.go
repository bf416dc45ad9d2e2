package algorithms

import (
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// CheckValidity refuses a certificate that is not valid now.
func CheckValidity(cert *ssh.Certificate) error {
	now := uint64(max(time.Now().Unix(), 0))
	switch {
	case now < cert.ValidAfter:
		return fmt.Errorf("is not valid before %s", FormatTime(cert.ValidAfter))
	case now >= cert.ValidBefore: // ssh.CertTimeInfinity is the greatest uint64
		return fmt.Errorf("expired on %s", FormatTime(cert.ValidBefore))
	default:
		return nil
	}
}

// FormatTime formats the time at which a certificate begins or ends to be valid.
func FormatTime(seconds uint64) string {
	if seconds > maxUnix {
		return "never"
	}
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

// ValidFrom returns when a certificate begins to be valid.
func ValidFrom(cert *ssh.Certificate) time.Time {
	return time.Unix(int64(min(cert.ValidAfter, maxUnix)), 0)
}

// ValidUntil returns when a certificate ends, or the zero time for never.
func ValidUntil(cert *ssh.Certificate) time.Time {
	if cert.ValidBefore > maxUnix {
		return time.Time{}
	}
	return time.Unix(int64(cert.ValidBefore), 0)
}

// maxUnix is a time far beyond any clock's, in seconds. ssh.CertTimeInfinity is
// above it.
const maxUnix = 1 << 40
