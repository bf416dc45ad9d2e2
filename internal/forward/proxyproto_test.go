package forward

import (
	"net/netip"
	"testing"
)

func TestProxyHeader(t *testing.T) {
	for _, tt := range []struct{ version, client, connectedTo, want string }{
		{"v1", "192.0.2.1:7", "192.0.2.2:80", "PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n"},
		{"v1", "[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.2]:80", "PROXY TCP4 192.0.2.1 192.0.2.2 7 80\r\n"},
		{"v1", "[2001:db8::1]:7", "[2001:db8::2]:80", "PROXY TCP6 2001:db8::1 2001:db8::2 7 80\r\n"},
		{"v1", "[fe80::1%eth0]:7", "[fe80::2%eth0]:80", "PROXY TCP6 fe80::1 fe80::2 7 80\r\n"},
		{"v1", "192.0.2.1:7", "", "PROXY TCP4 192.0.2.1 0.0.0.0 7 0\r\n"},
		{"v1", "192.0.2.1:7", "[2001:db8::2]:80", "PROXY TCP4 192.0.2.1 0.0.0.0 7 0\r\n"},
		{"v1", "[2001:db8::1]:7", "", "PROXY TCP6 2001:db8::1 :: 7 0\r\n"},
		{"v1", "[::ffff:192.0.2.1]:7", "", "PROXY TCP4 192.0.2.1 0.0.0.0 7 0\r\n"},
		{"v1", "", "", "PROXY UNKNOWN\r\n"},
		{"v1", "", "192.0.2.2:80", "PROXY UNKNOWN\r\n"},
		{"v2", "192.0.2.1:7", "", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x00\x00\x00\x00\x00\x07\x00\x00"},
		{"v2", "192.0.2.1:7", "192.0.2.2:80", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x07\x00\x50"},
		{"v2", "", "", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"},
	} {
		var client, connectedTo netip.AddrPort
		if tt.client != "" {
			client = netip.MustParseAddrPort(tt.client)
		}
		if tt.connectedTo != "" {
			connectedTo = netip.MustParseAddrPort(tt.connectedTo)
		}
		got, err := proxyHeader(tt.version, client, connectedTo).Format()
		if err != nil || string(got) != tt.want {
			t.Errorf("%s of %q to %q: got %q (%v), want %q", tt.version, tt.client, tt.connectedTo, got, err, tt.want)
		}
	}
}
