package sshtunnel

// jumps.go orders tunnels by what they jump through.

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// jumpOrder returns the names of the tunnels, each after the one that it jumps
// through. Jumps to an unknown tunnel or in a circle are errors.
func jumpOrder(tunnels map[string]*Tunnel) ([]string, error) {
	order := make([]string, 0, len(tunnels))
	for _, name := range slices.Sorted(maps.Keys(tunnels)) {
		// Walk towards the tunnel that jumps through none, or that is placed.
		var path []string
		for n := name; n != "" && !slices.Contains(order, n); n = tunnels[n].jump {
			if i := slices.Index(path, n); i >= 0 {
				circle := append(path[i:], n)
				return nil, fmt.Errorf("tunnel %q: proxy_jump goes in a circle: %s", n, strings.Join(circle, " -> "))
			}
			path = append(path, n)
			if jump := tunnels[n].jump; jump != "" && tunnels[jump] == nil {
				return nil, fmt.Errorf("tunnel %q: proxy_jump: %w", n, unknownTunnel(jump, tunnels))
			}
		}
		slices.Reverse(path)
		order = append(order, path...)
	}
	return order, nil
}
