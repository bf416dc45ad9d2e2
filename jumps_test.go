package sshtunnel

import (
	"slices"
	"strings"
	"testing"
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
		tunnels := make(map[string]*Tunnel)
		for name, jump := range test.jumps {
			tunnels[name] = &Tunnel{jump: jump}
		}
		order, err := jumpOrder(tunnels)
		got := strings.Join(order, " ")
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%v: got %s; want %s", test.jumps, got, test.want)
		}
		for i, name := range order {
			if jump := test.jumps[name]; jump != "" && !slices.Contains(order[:i], jump) {
				t.Errorf("%v: %s stands before %s", test.jumps, name, jump)
			}
		}
	}
}
