package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metricPrefix begins the name of every metric.
const metricPrefix = "caddy_ssh_tunnel_"

// Gauges are the numbers of the tunnels of a name.
type Gauges struct {
	// Configured says that a configuration has the tunnel, Up that it is connected and
	// State what it is like then.
	Configured, Up bool
	State          string
	// Connections and Channels are by class. Those that are 0 are there, too.
	Connections, Channels map[string]int
	// Pending counts the opens that the bastion has not answered.
	Pending int
	// Expiry is when the first certificate expires, or zero.
	Expiry time.Time
	// Forwards says whether the bastion listens, by address.
	Forwards map[string]bool
}

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

// collector implements prometheus.Collector.
type collector struct {
	states []string
	gauges func(name string) Gauges
}

// NewCollector returns a collector of the metrics of all tunnels of this process. Those
// of a tunnel are there while anybody has its Counters. All labels have few values.
// States are those that a tunnel can be in. gauges is called with no lock held.
func NewCollector(states []string, gauges func(name string) Gauges) prometheus.Collector {
	return collector{states, gauges}
}

// Describe implements prometheus.Collector. By it a registry knows that it has
// the collector already.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	for _, v := range vectors {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, v := range vectors {
		v.Collect(ch)
	}
	for name, c := range counts.all() {
		now := m.gauges(name) // before the bytes, which it has counted
		c.collect(ch)
		if now.Configured {
			gauge(upDesc, boolValue(now.Up), name)
			for _, s := range m.states {
				gauge(stateDesc, boolValue(now.State == s), name, s)
			}
		}
		for class := range now.Connections {
			gauge(connectionsDesc, float64(now.Connections[class]), name, class)
			gauge(channelsDesc, float64(now.Channels[class]), name, class)
		}
		gauge(pendingDesc, float64(now.Pending), name)
		if !now.Expiry.IsZero() {
			gauge(expiryDesc, float64(now.Expiry.Unix()), name)
		}
		for listen, up := range now.Forwards {
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
func (c *Counters) collect(ch chan<- prometheus.Metric) {
	for direction, n := range map[string]int64{"received": c.Received.Load(), "sent": c.Sent.Load()} {
		ch <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(n), c.name, direction)
	}
}
