package wire

import (
	"fmt"
	"strings"
)

// acknowledge.go is about servers that wait for our kernel's acknowledgements.

// waitsForAcknowledgement reports whether a server keeps small data until what it sent
// before is acknowledged (Nagle's algorithm, RFC 896), by its version string. OpenSSH does
// before 10.1. Of other servers it is not known, so they count as such.
func waitsForAcknowledgement(version string) bool {
	_, number, ok := strings.Cut(version, "OpenSSH_")
	var major, minor int
	if n, _ := fmt.Sscanf(number, "%d.%d", &major, &minor); !ok || n < 2 {
		return true
	}
	return major < 10 || major == 10 && minor < 1
}
