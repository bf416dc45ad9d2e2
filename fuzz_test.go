package sshtunnel

import (
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
)

// fuzz_test.go has anything written where an address is to be.

// FuzzParseAddress: listen addresses, targets and what a site is bound to are read
// again as the same from what they are called.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"8080", "127.0.0.1:80", "[::1]:80", "unix//run/s", "tcp/:80", "udp/:80", "*:80", "localhost:0", "prod/*:80", "unix//run/s|0600", "tcp//:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, at := range []hostport.Side{hostport.Here, hostport.Bastion} {
			a, err := hostport.ParseListen(s, at)
			if err != nil {
				continue
			}
			name := a.String()
			if strings.HasPrefix(name, ":") {
				name = "*" + name // all addresses; without the * it is the loopback's
			}
			if again, err := hostport.ParseListen(name, at); err != nil || again.String() != a.String() {
				t.Errorf("%q is %+v, read again %+v, %v", s, a, again, err)
			}
			if target, err := hostport.ParseTargetAt(s, at); err == nil && target.Address == "" {
				t.Errorf("target %q has no address", s)
			}
		}
		_, _ = parseBind(s, 80)
	})
}

// FuzzParseDestination: [user@]host[:port] of the command, or a URL.
func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"deploy@b.example:22", "ssh://u%40x@b:2222/", "b", "ssh://u:p@b", "@b", "[::1]:22", "u@[fe80::1%25x]", "a,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseDestination(s)
		if err != nil {
			return
		}
		if d.host == "" {
			t.Errorf("%q has no host", s)
		}
		if rest, ok := strings.CutPrefix(s, "ssh://"); ok && d.user != "" {
			if user, err := url.PathUnescape(rest[:strings.LastIndexByte(rest, '@')]); err != nil || user != d.user {
				t.Errorf("%q: user %q, want %q, %v", s, d.user, user, err)
			}
		}
	})
}
