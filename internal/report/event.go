package report

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Observer gets events.
type Observer interface {
	// Observe is called by goroutines that serve the tunnel, with what happens to
	// its connection in the order in which that does. No lock is held meanwhile. It
	// should not block: the goroutine would wait.
	Observe(e Event)
}

// Event is something that has happened to a tunnel.
type Event struct {
	// Name is one of the Event constants.
	Name string
	// Data has the fields that the log's line about it has, "tunnel" and
	// "address" included. A duration is a number of seconds, as in the log.
	Data map[string]any
}

// The names of events.
const (
	// EventConnected is that the tunnel has got a connection and had none.
	// "reconnected" in its data reports whether there was one before.
	EventConnected = "connected"
	// EventLost is that the last connection was lost.
	EventLost = "lost"
	// EventRefused is that host key or authentication were refused; like the log,
	// now and then while that goes on. "cause" is a Cause.
	EventRefused = "refused"
	// EventCertificateExpiring is that a certificate expires soon, or has, and
	// was not renewed.
	EventCertificateExpiring = "certificate_expiring"
)

// NewEvent returns an event of a tunnel, about the bastion at an address, with the fields
// of the log's line.
func NewEvent(name, tunnel, address string, fields []zap.Field) Event {
	data := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(data)
	}
	for name, value := range data.Fields {
		if d, ok := value.(time.Duration); ok {
			data.Fields[name] = d.Seconds()
		}
	}
	data.Fields["tunnel"], data.Fields["address"] = tunnel, address
	return Event{Name: name, Data: data.Fields}
}
