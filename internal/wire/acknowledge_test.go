package wire

import "testing"

// TestWaitsForAcknowledgement: only of OpenSSH since 10.1 it is known that it sends small
// data at once.
func TestWaitsForAcknowledgement(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10": true,
		"SSH-2.0-OpenSSH_10.0p2 Debian-7":         true,
		"SSH-2.0-OpenSSH_10.0":                    true,
		"SSH-2.0-OpenSSH_10.1":                    false,
		"SSH-2.0-OpenSSH_10.5p1":                  false,
		"SSH-2.0-OpenSSH_11.0":                    false,
		"SSH-2.0-OpenSSH_for_Windows_9.5":         true,
		"SSH-2.0-OpenSSH_":                        true,
		"SSH-2.0-dropbear_2022.83":                true,
		"SSH-2.0-Go":                              true,
		"":                                        true,
	} {
		if got := waitsForAcknowledgement(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
