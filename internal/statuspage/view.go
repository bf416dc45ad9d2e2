package statuspage

// view.go says what the page shows.

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remedy"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// page is what the template shows. All texts are printable. The template escapes them.
type page struct {
	Title string
	// Counts says how many tunnels are in which state.
	Counts  []stateCount
	Now     moment
	Tunnels []tunnelView
}

type stateCount struct {
	State report.State
	Count int
}

// moment is a time, and how long ago or ahead it is.
type moment struct {
	at, now time.Time
}

// ISO is the time for programs.
func (m moment) ISO() string { return m.at.UTC().Format(time.RFC3339) }

// String is the time for people, without the day if it is today. No line breaks before
// its zone.
func (m moment) String() string {
	at, now := m.at.UTC(), m.now.UTC()
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04:05\u00a0UTC")
	}
	return at.Format("2006-01-02 15:04\u00a0UTC")
}

// Ago is how long ago the time was.
func (m moment) Ago() string { return printable.Duration(m.now.Sub(m.at)) }

// tunnelView is a tunnel on the page.
type tunnelView struct {
	ID, Name, State, Where, User string
	Lazy                         bool
	Since                        moment
	Certificate                  *expiry
	Remarks                      []remarkView
	Charts                       []chart
	// Shaded says that a chart shows times without a connection.
	Shaded          bool
	ConnectionCount string
	// Received and Sent are all bytes, those of former connections included.
	Received, Sent string
	Connections    []connectionView
	Forwards       []adminapi.Forward
}

// expiry is when a certificate expires.
type expiry struct {
	moment
}

// Left says how long it is valid.
func (e expiry) Left() string {
	if left := e.at.Sub(e.now); left > 0 {
		return "expires in " + printable.Duration(left)
	}
	return "expired " + printable.Duration(e.now.Sub(e.at)) + " ago"
}

// remarkView is something that is wrong, and what to do about it.
type remarkView struct{ Text, Means, Error, Fix string }

// chart is a sparkline with its words.
type chart struct {
	Name, Now, Most string
	sparkline
}

// connectionView is an SSH connection on the page.
type connectionView struct {
	Class, Host, Server, RTT, Received, Sent string
	Stalled                                  bool
	Since                                    moment
	Channels                                 int
	Certificate                              *expiry
}

// newPage returns what there is to show of tunnels at a moment.
func newPage(tunnels []adminapi.Status, history func(name string) []sample, now time.Time) page {
	p := page{Title: "SSH tunnels", Now: moment{now, now}}
	counts := make(map[report.State]int)
	for i := range tunnels {
		s := &tunnels[i]
		counts[s.State]++
		p.Tunnels = append(p.Tunnels, newTunnelView(s, fmt.Sprintf("tunnel-%d", i+1), history(s.Tunnel), now))
	}
	for _, state := range report.States {
		if n := counts[state]; n > 0 {
			p.Counts = append(p.Counts, stateCount{state, n})
		}
	}
	if n := len(adminapi.ReadinessOf(tunnels).NotReady); n > 0 {
		p.Title = fmt.Sprintf("(%d not ready) SSH tunnels", n)
	}
	return p
}

func newTunnelView(s *adminapi.Status, id string, samples []sample, now time.Time) tunnelView {
	v := tunnelView{
		ID: id, Name: printable.Line(s.Tunnel), State: printable.Line(string(s.State)), Where: printable.Line(s.Where()), User: printable.Line(s.User), Lazy: s.Lazy,
		Since: moment{s.Since, now}, Certificate: expiryOf(s.CertificateExpires, now),
		ConnectionCount: s.ConnectionCount(), Received: printable.Bytes(s.Received), Sent: printable.Bytes(s.Sent),
	}
	for _, r := range s.Remarks(now) {
		means := ""
		if r.Cause != "" {
			means = remedy.ByCause[r.Cause].Means
		}
		v.Remarks = append(v.Remarks, remarkView{printable.Line(r.Text), means, printable.Line(r.Error), printable.Line(fix(s, r))})
	}
	for _, c := range s.Connections {
		v.Connections = append(v.Connections, connectionView{
			Class: printable.Line(c.Class), Host: printable.Line(c.Host), Server: printable.Line(strings.TrimPrefix(c.Server, "SSH-2.0-")),
			RTT: roundTrip(c.RTT.Duration()), Received: printable.Bytes(c.Received), Sent: printable.Bytes(c.Sent),
			Stalled: c.Stalled, Since: moment{c.Since, now}, Channels: c.Channels, Certificate: expiryOf(c.CertificateExpires, now),
		})
	}
	for _, f := range s.Forwards {
		f.Listen, f.Target = printable.Line(f.Listen), printable.Line(f.Target)
		v.Forwards = append(v.Forwards, f)
	}
	v.Charts = newCharts(s, samples, now)
	v.Shaded = v.Charts[0].Down != ""
	return v
}

// newCharts returns the charts of a tunnel. Rates end with the last sample: since then,
// too little time may have passed for one.
func newCharts(s *adminapi.Status, samples []sample, now time.Time) []chart {
	withNow := append(slices.Clone(samples), sampleOf(s, now))
	channels := gauge(withNow, func(s sample) (float64, bool) { return float64(s.channels), true })
	received := rate(samples, func(s sample) int64 { return s.received })
	sent := rate(samples, func(s sample) int64 { return s.sent })
	rtt := gauge(withNow, func(s sample) (float64, bool) { return s.rtt.Seconds(), s.rtt > 0 })
	perSecond := func(v float64) string { return printable.Bytes(int64(v)) + "/s" }
	charts := []chart{
		newChart("channels", channels, func(v float64) string { return fmt.Sprint(v) }, now),
		newChart("received", received, perSecond, now),
		newChart("sent", sent, perSecond, now),
		newChart("round trip", rtt, func(v float64) string {
			return roundTrip(time.Duration(v * float64(time.Second)))
		}, now),
	}
	down := drawDown(withNow, now)
	for i := range charts {
		charts[i].Down = down
	}
	return charts
}

// newChart returns a chart of values, the last of which is that of now.
func newChart(name string, values []value, word func(float64) string, now time.Time) chart {
	most := greatest(values, now)
	c := chart{Name: name, Now: unknown, sparkline: draw(values, most, now)}
	if v, ok := last(values); ok {
		c.Now = word(v)
	}
	if c.Line != "" {
		c.Most = word(most)
	}
	return c
}

// fix is what to do about a remark, or "".
func fix(s *adminapi.Status, r adminapi.Remark) string {
	if r.Cause == "" {
		return ""
	}
	known := remedy.Facts{Tunnel: s.Tunnel, Host: r.Host, User: s.User}
	for _, a := range s.Attempts {
		if a.Host == r.Host && a.Cause == r.Cause {
			known.Fingerprint = a.HostKey
		}
	}
	return known.Fix(r.Cause)
}

func expiryOf(t *time.Time, now time.Time) *expiry {
	if t == nil {
		return nil
	}
	return &expiry{moment{*t, now}}
}

// unknown stands for what is not known.
const unknown = "–"

func roundTrip(d time.Duration) string {
	if d <= 0 {
		return unknown
	}
	return printable.Duration(d)
}
