package tunnel

import (
	"net"
	"strings"
	"testing"
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
		{"localhost", nameAddr("unknown:0"), "127.0.0.1:80"},
		{"", v6, ":80"},
		{"::1", v6, "[::1]:80"},
		{"name", v6, "name:80"},
	} {
		if got := (remoteAddress{host: test.host, port: 80}).addrFor(test.peer).String(); got != test.want {
			t.Errorf("%q from %s: got %s, want %s", test.host, test.peer, got, test.want)
		}
	}
}

func TestRefusedHint(t *testing.T) {
	for port, want := range map[uint16]string{80: "ports below 1024 are root's", 8080: "set ClientAliveInterval on the bastion"} {
		if hint := (remoteAddress{port: port}).refusedHint(); !strings.Contains(hint, want) {
			t.Errorf("port %d: %s", port, hint)
		}
	}
}
