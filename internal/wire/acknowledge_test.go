package wire

import (
	"net"
	"testing"
	"time"
)

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

// TestAcknowledgesWhereItHelps: once the login is over, the version decides.
func TestAcknowledgesWhereItHelps(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"SSH-2.0-OpenSSH_9.2p1": false, "SSH-2.0-OpenSSH_10.5p1": true} {
		w := New(newGatedConn(), time.Second)
		w.greeting.Store(&Greeting{Version: version})
		w.Advance(StageLogin)
		if w.patient.Load() {
			t.Errorf("%s: before the login is over", version)
		}
		w.Advance(StageOpen)
		if got := w.patient.Load(); got != want {
			t.Errorf("%s: patient is %v", version, got)
		}
		w.Die(net.ErrClosed)
	}
}
