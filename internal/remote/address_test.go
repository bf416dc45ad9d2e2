package remote

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
		if got := (address{host: test.host, port: 80}).addrFor(test.peer).String(); got != test.want {
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
	for port, want := range map[uint16]string{80: "only root may listen on ports below 1024", 8080: "set ClientAliveInterval on the bastion"} {
		if hint := (address{port: port}).refusedHint(); !strings.Contains(hint, want) {
			t.Errorf("port %d: %s", port, hint)
		}
	}
	// Each spelling that would do, once.
	const differ = ": to sshd, localhost and 127.0.0.1 differ"
	for host, want := range map[string]string{"": `list "*:8080"`, "localhost": `list "localhost:8080", or "*:8080"` + differ, "::1": `list "[::1]:8080", or "*:8080"` + differ} {
		if hint := (address{host: host, port: 8080}).refusedHint(); !strings.HasSuffix(hint, want) {
			t.Errorf("host %q: %s", host, hint)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	for _, test := range []struct{ network, address, host, addr, err string }{
		{network: "tcp", address: ":80", host: "", addr: ":80"},
		{network: "tcp", address: "*:80", host: "", addr: ":80"},
		{network: "tcp", address: "0.0.0.0:80", host: "0.0.0.0", addr: "0.0.0.0:80"},
		{network: "tcp", address: "[::]:80", host: "::", addr: "[::]:80"},
		{network: "tcp", address: "[::1]:80", host: "::1", addr: "[::1]:80"},
		{network: "tcp", address: "Localhost:80", host: "localhost", addr: "127.0.0.1:80"},
		{network: "tcp", address: "name:80", host: "name", addr: "name:80"},
		{network: "unix", address: "/run/a", addr: "/run/a"},
		{network: "tcp", address: ":0", err: "port must be a number from 1 to 65535"},
		{network: "tcp", address: ":http", err: "port must be a number from 1 to 65535"},
		{network: "tcp", address: "80", err: `listen address "80" is not <host>:<port>: missing port in address`},
		{network: "unix", address: "", err: "not the path of a socket"},
		{network: "udp", address: ":80", err: `listen network "udp" is neither tcp nor unix`},
	} {
		a, err := parseAddress(test.network, test.address)
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s %q: got error %v, want %q", test.network, test.address, err, test.err)
			}
		case err != nil:
			t.Errorf("%s %q: %v", test.network, test.address, err)
		case a.host != test.host || a.addr().String() != test.addr:
			t.Errorf("%s %q: got host %q, addr %q", test.network, test.address, a.host, a.addr())
		}
	}
}
