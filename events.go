package sshtunnel

// events.go passes what happens to tunnels on to Caddy's events app.

import (
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// eventPrefix begins the names of events, as the events app knows them:
// `ssh_tunnel.connected`, `ssh_tunnel.lost`, `ssh_tunnel.refused` and
// `ssh_tunnel.certificate_expiring`.
const eventPrefix = "ssh_tunnel."

// maxWaitingEvents bounds the events that wait for a handler. A tunnel that comes
// and goes has a few a second at most.
const maxWaitingEvents = 256

// emitter emits the events of a configuration's tunnels. Handlers are called one
// after the other and may take their time, such as a command that is executed:
// the tunnels do not wait for them.
type emitter struct {
	emit   func(tunnel.Event)
	logger *zap.Logger

	// mu guards the fields below.
	mu      sync.Mutex
	waiting []tunnel.Event
	// running tells that run does, closed that the configuration is no longer in
	// force: handlers would have a context that is over.
	running, closed bool
}

// newEmitter returns what emits the events of the configuration that ctx belongs
// to, or nil if that has no handlers.
func newEmitter(ctx caddy.Context) (*emitter, error) {
	app, err := ctx.AppIfConfigured("events")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, fmt.Errorf("getting the events app: %w", err)
	}
	events := app.(*caddyevents.App)
	return &emitter{
		emit:   func(e tunnel.Event) { events.Emit(ctx, eventPrefix+e.Name, e.Data) },
		logger: ctx.Logger(),
	}, nil
}

// Observe implements tunnel.Observer.
func (em *emitter) Observe(e tunnel.Event) {
	em.mu.Lock()
	defer em.mu.Unlock()
	switch {
	case em.closed:
	case len(em.waiting) >= maxWaitingEvents:
		em.logger.Warn("event dropped: its handlers are too slow", zap.String("event", eventPrefix+e.Name))
	default:
		em.waiting = append(em.waiting, e)
		if !em.running {
			em.running = true
			go em.run()
		}
	}
}

// run emits what waits. It returns when nothing does.
func (em *emitter) run() {
	for {
		e, ok := em.next()
		if !ok {
			return
		}
		em.emit(e)
	}
}

// next returns the event to emit. If there is none, run is over.
func (em *emitter) next() (e tunnel.Event, ok bool) {
	em.mu.Lock()
	defer em.mu.Unlock()
	if len(em.waiting) == 0 {
		em.running = false
		return tunnel.Event{}, false
	}
	e = em.waiting[0]
	em.waiting = em.waiting[1:]
	return e, true
}

// close drops what waits, and what is yet to come.
func (em *emitter) close() {
	em.mu.Lock()
	defer em.mu.Unlock()
	em.closed, em.waiting = true, nil
}

var _ tunnel.Observer = (*emitter)(nil)
