package hostport

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func TestParseTarget(t *testing.T) {
	for s, want := range map[string]tunnel.Target{
		"git.internal:22":    {Network: "tcp", Address: "git.internal:22"},
		"[2001:db8::1]:22":   {Network: "tcp", Address: "[2001:db8::1]:22"},
		"unix//run/app.sock": {Network: "unix", Address: "/run/app.sock"},
	} {
		if got, err := ParseTarget(s, Bastion); err != nil || got != want {
			t.Errorf("%q: got %+v (%v), want %+v", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"":                  "no port; write host:port",
		"git.internal":      "no port; write host:port",
		"2001:db8::1":       "an IPv6 address stands in brackets",
		"2001:db8::1:22":    "an IPv6 address stands in brackets",
		"[2001:db8::1]":     "no port; write host:port",
		":22":               `no host; the bastion itself is "localhost"`,
		"git.internal:":     `port "" is not one from 1 to 65535`,
		"git.internal:0":    `port "0" is not`,
		"git.internal:ssh":  `port "ssh" is not`,
		"git.internal:1-2":  `port "1-2" is not`,
		"git.internal:1e5":  `port "1e5" is not`,
		"unix/run/app.sock": "not an absolute path on the bastion; write unix//path",
		"unix/":             "not an absolute path",
		"udp/dns:53":        `network "udp" does not go through a tunnel`,
	} {
		if _, err := ParseTarget(s, Bastion); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("target %q: ", s)+want) {
			t.Errorf("%q: got error %v, want %s", s, err, want)
		}
	}
}
