package tunnel

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// Metrics collects the metrics of all tunnels of this process. Those of a tunnel are
// there while a configuration has it, and while what goes through it goes on. All labels
// have few values: names of tunnels, addresses that a configuration makes the bastion
// listen on, and words of ours.
var Metrics prometheus.Collector = metrics.NewCollector(stateNames(), gaugesOf)

func stateNames() (names []string) {
	for _, s := range report.States {
		names = append(names, string(s))
	}
	return names
}

// gaugesOf returns the gauges of a tunnel's name. During a reload it may have two pools.
func gaugesOf(name string) metrics.Gauges {
	g := metrics.Gauges{Connections: map[string]int{}, Channels: map[string]int{}, Forwards: map[string]bool{}}
	for _, class := range report.Classes {
		g.Connections[class], g.Channels[class] = 0, 0
	}
	for _, p := range pools.named(name) {
		p.AddTo(&g)
	}
	return g
}
