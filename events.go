package sshtunnel

// events.go passes what happens to tunnels on to Caddy's events app.

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// eventPrefix begins the names of events, as the events app knows them:
// `ssh_tunnel_connected`, `ssh_tunnel_lost`, `ssh_tunnel_refused` and
// `ssh_tunnel_certificate_expiring`.
const eventPrefix = "ssh_tunnel_"

// maxWaitingEvents bounds the events that wait for a handler. A tunnel that comes
// and goes has a few a second at most.
const maxWaitingEvents = 256

// emitter emits the events of a configuration's tunnels. Handlers are called one
// after the other and may take their time, such as a command that is executed:
// the tunnels do not wait for them.
type emitter struct {
	emit func(tunnel.Event)
	// inForce reports whether all apps of the configuration have started: Caddy
	// starts them in any order, and the events app takes none before.
	inForce func() bool
	logger  *zap.Logger

	// mu guards the fields below.
	mu      sync.Mutex
	waiting []tunnel.Event
	// running says that run does, closed that the configuration is no longer in
	// force: handlers would have a context that is over.
	running, closed bool
}

// newEmitter returns what emits the events of the configuration that ctx belongs
// to, whose app is a, or nil if it has no handlers.
func newEmitter(ctx caddy.Context, a *App) (*emitter, error) {
	app, err := ctx.AppIfConfigured("events")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil //nolint:nilnil // as documented
	}
	if err != nil {
		return nil, fmt.Errorf("getting the events app: %w", err)
	}
	events := app.(*caddyevents.App)
	return &emitter{
		emit: func(e tunnel.Event) { events.Emit(ctx, eventPrefix+e.Name, e.Data) },
		inForce: func() bool {
			active := caddy.ActiveContext()
			if active.Context == nil {
				return false // nothing has started yet
			}
			app, err := active.AppIfConfigured("ssh_tunnel")
			return err == nil && app == any(a)
		},
		logger: ctx.Logger(),
	}, nil
}

// Observe implements tunnel.Observer.
func (em *emitter) Observe(e tunnel.Event) {
	if !em.queue(e) {
		em.logger.Warn("event dropped: its handlers are too slow", zap.String("event", eventPrefix+e.Name))
	}
}

// queue adds an event to those that run emits. It is false if too many wait.
func (em *emitter) queue(e tunnel.Event) bool {
	em.mu.Lock()
	defer em.mu.Unlock()
	switch {
	case em.closed:
		return true // nobody waits for it
	case len(em.waiting) >= maxWaitingEvents:
		return false
	}
	em.waiting = append(em.waiting, e)
	if !em.running {
		em.running = true
		go em.run()
	}
	return true
}

// startPoll is how often to look whether the configuration has started.
const startPoll = 20 * time.Millisecond

// run emits what waits, once the configuration has started. It returns when
// nothing waits, as is so when the configuration has gone.
func (em *emitter) run() {
	for !em.inForce() && !em.isClosed() {
		time.Sleep(startPoll)
	}
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

func (em *emitter) isClosed() bool {
	em.mu.Lock()
	defer em.mu.Unlock()
	return em.closed
}

// close drops what waits, and what is yet to come.
func (em *emitter) close() {
	em.mu.Lock()
	defer em.mu.Unlock()
	em.closed, em.waiting = true, nil
}

var _ tunnel.Observer = (*emitter)(nil)
