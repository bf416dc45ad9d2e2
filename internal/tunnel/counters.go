package tunnel

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
)

// Metrics collects the metrics of all tunnels of this process. Those of a tunnel are
// there while a configuration has it, and while what goes through it goes on. All labels
// have few values: names of tunnels, addresses that a configuration makes the bastion
// listen on, and words of ours.
var Metrics prometheus.Collector = metrics.NewCollector(stateNames(), gaugesOf)

func stateNames() (names []string) {
	for _, s := range States {
		names = append(names, string(s))
	}
	return names
}

// reason is why a connection was made anew.
type reason string

const (
	reasonLost      reason = "lost"
	reasonRekey     reason = "rekey_limit"
	reasonCert      reason = "certificate"
	reasonPreferred reason = "preferred_host"
	reasonJump      reason = "proxy_jump"
	reasonForward   reason = "remote_forward"
	reasonStuck     reason = "stuck_channels"
	reasonRequested reason = "requested"
)

// openResult is how a dial has ended.
type openResult string

const (
	resultOpened  openResult = "opened"
	resultDown    openResult = "tunnel_down"
	resultFull    openResult = "tunnel_full"
	resultTimeout openResult = "no_answer"
	resultOther   openResult = "other"
)

// countDial counts a dial that ended with err.
func (p *pool) countDial(err error) {
	if err == nil {
		p.counters.Opened.Add(1)
	}
	p.counters.Dialed(string(resultOf(err)))
}

func resultOf(err error) openResult {
	if err == nil {
		return resultOpened
	}
	if refused, ok := errors.AsType[*failure.OpenError](err); ok {
		return openResult(refused.Reason.Word())
	}
	if _, ok := errors.AsType[*DownError](err); ok {
		return resultDown
	}
	if _, ok := errors.AsType[*FullError](err); ok {
		return resultFull
	}
	if _, ok := errors.AsType[*TimeoutError](err); ok {
		return resultTimeout
	}
	return resultOther
}

// gaugesOf returns the gauges of a tunnel's name. During a reload it may have two pools:
// the state is then up if one of them is.
func gaugesOf(name string) metrics.Gauges {
	g := metrics.Gauges{Connections: map[string]int{}, Channels: map[string]int{}, Forwards: map[string]bool{}}
	for _, class := range classNames {
		g.Connections[class], g.Channels[class] = 0, 0
	}
	for _, p := range pools.named(name) {
		p.addTo(&g)
	}
	return g
}

func (p *pool) addTo(g *metrics.Gauges) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.handles) > 0 {
		if s := p.state(); !g.Configured || s == StateUp {
			g.State, g.Up = string(s), s == StateUp
		}
		g.Configured = true
	}
	for _, l := range p.members {
		g.Connections[l.class()]++
		g.Channels[l.class()] += len(l.conns)
		g.Pending += l.opens.pending()
		if t := l.certificateExpiry(); !t.IsZero() && !l.isDraining() && (g.Expiry.IsZero() || t.Before(g.Expiry)) {
			g.Expiry = t
		}
	}
	for listen, up := range p.forwards.Listening() {
		g.Forwards[listen] = g.Forwards[listen] || up
	}
}
