package hostport

import (
	"net"
	"strings"
	"testing"
)

func TestParseServer(t *testing.T) {
	for _, test := range []struct{ in, user, host, port string }{
		{"bastion", "", "bastion", "22"},
		{"bastion.example.com", "", "bastion.example.com", "22"},
		{"bastion.example.com:2222", "", "bastion.example.com", "2222"},
		{"deploy@bastion:022", "deploy", "bastion", "22"},
		{"deploy@corp.example.com@bastion", "deploy@corp.example.com", "bastion", "22"},
		{"first last@bastion", "first last", "bastion", "22"},
		{"192.0.2.1", "", "192.0.2.1", "22"},
		{"[2001:db8::1]", "", "2001:db8::1", "22"},
		{"deploy@[2001:db8::1]:65535", "deploy", "2001:db8::1", "65535"},
		{"[fe80::1%eth0]:22", "", "fe80::1%eth0", "22"},
		{"my_host-1", "", "my_host-1", "22"},
		{"bücher.example", "", "bücher.example", "22"},
	} {
		server, err := ParseServer(test.in)
		if err != nil || server.User != test.user || server.Host != test.host || server.Address() != net.JoinHostPort(test.host, test.port) {
			t.Errorf("ParseServer(%q) = %q, %v; want %q, %q, %q", test.in, server, err, test.user, test.host, test.port)
		}
	}

	for in, want := range map[string]string{
		"":                      `no host`,
		"deploy@":               `no host`,
		":22":                   `no host`,
		"@bastion":              `no user before the @`,
		"deploy:secret@bastion": `a password in the address`,
		"a\x1b[2J@bastion":      `control characters`,
		"ssh://deploy@bastion":  `a URL`,
		"2001:db8::1":           `put an IPv6 address in brackets`,
		"deploy@::1":            `put an IPv6 address in brackets`,
		"[192.0.2.1]:22":        `brackets are for an IPv6 address`,
		"[bastion]":             `brackets are for an IPv6 address`,
		"[2001:db8::1":          `brackets are for an IPv6 address`,
		"[2001:db8::1]22":       `expected :port after the bracket`,
		"[2001:db8::1]:":        `port "" is not a number`,
		"bastion:":              `port "" is not a number`,
		"bastion:0":             `port "0" is not a number`,
		"bastion:65536":         `port "65536" is not a number`,
		"bastion:+22":           `port "+22" is not a number`,
		"bastion:22-23":         `port "22-23" is not a number`,
		"bastion:ssh":           `port "ssh" is not a number`,
		"-oProxyCommand=x":      `a host does not begin with a hyphen`,
		"bas tion":              `a host has no ' '`,
		"bastion/path":          `a host has no '/'`,
		"{env.X}":               `a host has no '{'`,
		"a\nb":                  `a host has no '\n'`,
		"a\xffb":                `a host has no`,
	} {
		server, err := ParseServer(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseServer(%q) = %q, %v; want an error with %q", in, server, err, want)
		}
	}
}

// FuzzParseServer checks that what was read can be joined and read again.
func FuzzParseServer(f *testing.F) {
	for _, s := range []string{"bastion", "deploy@bastion:22", "a@b@[::1]:22", "[::1]", "@", ":", "[", "]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		server, err := ParseServer(s)
		if err != nil {
			return
		}
		if server.Host == "" {
			t.Fatalf("%q has no host", s)
		}
		joined := server.Address()
		if server.User != "" {
			joined = server.User + "@" + joined
		}
		again, err := ParseServer(joined)
		if err != nil || again.User != server.User || again.Host != server.Host || again.Address() != server.Address() {
			t.Fatalf("%q: read as %q; joined and read again %q, %v", s, server, again, err)
		}
	})
}
