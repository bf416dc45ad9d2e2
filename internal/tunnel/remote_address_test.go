package tunnel

import (
	"net"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// TestAddressFor: what listens on localhost has the peer's family at its end of a
// connection.
func TestAddressFor(t *testing.T) {
	v4 := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5), Port: 1}
	v6 := &net.TCPAddr{IP: net.IPv6loopback, Port: 1}
	for _, test := range []struct {
		host string
		peer net.Addr
		want string
	}{
		{"localhost", v4, "127.0.0.1:80"},
		{"localhost", v6, "[::1]:80"},
		{"localhost", sshconn.NameAddr("unknown:0"), "127.0.0.1:80"},
		{"", v6, ":80"},
		{"::1", v6, "[::1]:80"},
		{"name", v6, "name:80"},
	} {
		if got := (remoteAddress{host: test.host, port: 80}).addrFor(test.peer).String(); got != test.want {
			t.Errorf("%q from %s: got %s, want %s", test.host, test.peer, got, test.want)
		}
	}
}

// TestHostAddr: what a bastion says of a peer is an address and no more.
func TestHostAddr(t *testing.T) {
	long := strings.Repeat("x", 10_000)
	for host, want := range map[string]string{
		"192.0.2.1":                        "192.0.2.1:7",
		"fe80::1%eth0":                     "[fe80::1%eth0]:7",
		"fe80::1%\x1b[2J\nx":               "[fe80::1%[2J x]:7",
		"fe80::1%" + long:                  "[fe80::1%" + long[:printable.Max] + "…]:7",
		"\x1b[2J":                          "[2J:7",
		"UNKNOWN" + long[:2*printable.Max]: "UNKNOWN" + long[:printable.Max-7] + "…:7",
	} {
		if got := hostAddr(host, 7).String(); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}

func TestRefusedHint(t *testing.T) {
	for port, want := range map[uint16]string{80: "ports below 1024 are root's", 8080: "set ClientAliveInterval on the bastion"} {
		if hint := (remoteAddress{port: port}).refusedHint(); !strings.Contains(hint, want) {
			t.Errorf("port %d: %s", port, hint)
		}
	}
	// Each spelling that would do, once.
	const differ = ": to sshd, localhost and 127.0.0.1 differ"
	for host, want := range map[string]string{"": `list "*:8080"`, "localhost": `list "localhost:8080", or "*:8080"` + differ, "::1": `list "[::1]:8080", or "*:8080"` + differ} {
		if hint := (remoteAddress{host: host, port: 8080}).refusedHint(); !strings.HasSuffix(hint, want) {
			t.Errorf("host %q: %s", host, hint)
		}
	}
}
