package hostport

import (
	"net"
	"strings"
	"testing"
)

func TestSplitAddress(t *testing.T) {
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
		user, host, port, err := SplitServer(test.in)
		if err != nil || user != test.user || host != test.host || port != test.port {
			t.Errorf("splitAddress(%q) = %q, %q, %q, %v; want %q, %q, %q", test.in, user, host, port, err, test.user, test.host, test.port)
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
		user, host, port, err := SplitServer(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("splitAddress(%q) = %q, %q, %q, %v; want an error with %q", in, user, host, port, err, want)
		}
	}
}

// FuzzSplitAddress checks that what was split can be joined and split again.
func FuzzSplitAddress(f *testing.F) {
	for _, s := range []string{"bastion", "deploy@bastion:22", "a@b@[::1]:22", "[::1]", "@", ":", "[", "]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		user, host, port, err := SplitServer(s)
		if err != nil {
			return
		}
		if host == "" || port == "" {
			t.Fatalf("%q has host %q and port %q", s, host, port)
		}
		joined := net.JoinHostPort(host, port)
		if user != "" {
			joined = user + "@" + joined
		}
		user2, host2, port2, err := SplitServer(joined)
		if err != nil || user2 != user || host2 != host || port2 != port {
			t.Fatalf("%q: split into %q, %q, %q; joined and split again %q, %q, %q, %v", s, user, host, port, user2, host2, port2, err)
		}
	})
}
