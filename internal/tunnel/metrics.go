package tunnel

import "github.com/prometheus/client_golang/prometheus"

// metricPrefix begins the name of every metric.
const metricPrefix = "caddy_ssh_tunnel_"

// Metrics collects the metrics of all tunnels of this process. Those of a tunnel
// are there while a configuration has it, and while what goes through it goes on.
// All labels have few values: names of tunnels, addresses that a configuration
// has the bastion listen on, and words of ours.
var Metrics prometheus.Collector = metricsCollector{}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+name, help, append([]string{"tunnel"}, labels...), nil)
}

var (
	upDesc          = desc("up", "Whether the tunnel is connected.")
	stateDesc       = desc("state", "Whether the tunnel is in a state: up, connecting, reconnecting, down or idle.", "state")
	connectionsDesc = desc("connections", "SSH connections, by what they are for.", "class")
	channelsDesc    = desc("channels", "Open channels, by what their connection is for.", "class")
	pendingDesc     = desc("pending_opens", "Channels that the bastion was asked to open and has not answered.")
	bytesDesc       = desc("bytes_total", "Bytes through channels: received from the bastion, or sent to it.", "direction")
	expiryDesc      = desc("certificate_expiry_timestamp_seconds", "When the first of the certificates expires that connections were let in with.")
	forwardDesc     = desc("remote_forward_up", "Whether the bastion listens on an address.", "listen")

	descs = []*prometheus.Desc{
		upDesc, stateDesc, connectionsDesc, channelsDesc, pendingDesc, bytesDesc,
		expiryDesc, forwardDesc,
	}

	opens           = vector("channel_opens_total", "Dials through the tunnel, by how they ended.", "result")
	connectFailures = vector("connect_failures_total", "Attempts to connect that failed, by their cause.", "cause")
	reconnects      = vector("reconnects_total", "Connections that were made anew, by the reason.", "reason")

	handshakeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    metricPrefix + "handshake_duration_seconds",
		Help:    "How long logins took that succeeded, from the moment that the bastion was reached to the end of the authentication.",
		Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"tunnel"})
	roundTripSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    metricPrefix + "keepalive_rtt_seconds",
		Help:    "How long the bastion took to answer keepalives.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
	}, []string{"tunnel"})
)

// vectors are all metrics that are made as they are counted. What has not happened is
// not there.
var vectors = []interface {
	prometheus.Collector
	DeletePartialMatch(labels prometheus.Labels) int
}{opens, connectFailures, reconnects, handshakeSeconds, roundTripSeconds}

func vector(name, help, label string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, []string{"tunnel", label})
}

// metricsCollector implements prometheus.Collector.
type metricsCollector struct{}

// Describe implements prometheus.Collector. By it a registry knows that it has
// the collector already.
func (metricsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	for _, v := range vectors {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (metricsCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, v := range vectors {
		v.Collect(ch)
	}
	for name, c := range counts.all() {
		c.collect(ch)
		now := gaugesOf(pools.named(name))
		if now.configured {
			gauge(upDesc, boolValue(now.state == StateUp), name)
			for _, s := range States {
				gauge(stateDesc, boolValue(now.state == s), name, string(s))
			}
		}
		for class := range now.connections {
			gauge(connectionsDesc, float64(now.connections[class]), name, class)
			gauge(channelsDesc, float64(now.channels[class]), name, class)
		}
		gauge(pendingDesc, float64(now.pending), name)
		if !now.expiry.IsZero() {
			gauge(expiryDesc, float64(now.expiry.Unix()), name)
		}
		for listen, up := range now.forwards {
			gauge(forwardDesc, boolValue(up), name, listen)
		}
	}
}

func boolValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// collect sends the bytes.
func (c *counters) collect(ch chan<- prometheus.Metric) {
	for direction, n := range map[string]int64{"received": c.received.Load(), "sent": c.sent.Load()} {
		ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(n), c.name, direction)
	}
}
