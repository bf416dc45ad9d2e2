package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

func TestJumpOrder(t *testing.T) {
	for _, test := range []struct {
		jumps map[string]string // tunnel -> the one it jumps through
		want  string            // the order, or a part of the error
	}{
		{map[string]string{}, ""},
		{map[string]string{"b": "", "a": ""}, "a b"},
		{map[string]string{"a": "b", "b": "c", "c": "", "d": "b"}, "c b a d"},
		{map[string]string{"a": "z", "m": "", "z": ""}, "z a m"},
		{map[string]string{"a": "a"}, `tunnel "a": proxy_jump goes in a circle: a -> a`},
		{map[string]string{"a": "b", "b": "c", "c": "b"}, `tunnel "b": proxy_jump goes in a circle: b -> c -> b`},
		{map[string]string{"a": "prdo", "prod": ""}, `tunnel "a": proxy_jump: unknown tunnel "prdo"; configured: a, prod`},
	} {
		tunnels := make(map[string]*Resolved)
		for name, jump := range test.jumps {
			tunnels[name] = &Resolved{Config: tunnel.Config{Name: name}, Jump: jump}
		}
		order, err := jumpOrder(tunnels)
		var names []string
		for _, t := range order {
			names = append(names, t.Config.Name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%v: got %s; want %s", test.jumps, got, test.want)
		}
		for i, name := range names {
			if jump := test.jumps[name]; jump != "" && (!slices.Contains(names[:i], jump) || order[i].Via.Config.Name != jump) {
				t.Errorf("%v: %s stands before %s", test.jumps, name, jump)
			}
		}
	}
}
