package sshtunnel

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
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
	app  atomic.Pointer[caddyevents.App]
	emit func(report.Event)
	// inForce reports whether all apps of the configuration have started: Caddy
	// starts them in any order, and the events app takes none before.
	inForce func() bool
	logger  *zap.Logger

	waiting chan report.Event
	// running says that run does: nothing runs while nothing waits.
	running atomic.Bool
	// over is closed when the configuration is no longer in force: handlers would have
	// a context that is over.
	over <-chan struct{}
}

// newEmitter returns what emits the events of the configuration that ctx belongs
// to, whose app is a. It emits none before bind.
func newEmitter(ctx caddy.Context, a *App) *emitter {
	return &emitter{
		emit: func(e report.Event) { a.events.app.Load().Emit(ctx, eventPrefix+e.Name, e.Data) },
		inForce: func() bool {
			active := caddy.ActiveContext()
			if active.Context == nil {
				return false // nothing has started yet
			}
			app, err := active.AppIfConfigured("ssh_tunnel")
			return err == nil && app == any(a)
		},
		logger:  ctx.Logger(),
		waiting: make(chan report.Event, maxWaitingEvents),
		over:    ctx.Done(),
	}
}

// bind makes the events app get the events, if there is one. It provisions that app, whose
// handlers may look up tunnels.
func (em *emitter) bind(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("events")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	em.app.Store(app.(*caddyevents.App))
	return nil
}

// Observe implements report.Observer.
func (em *emitter) Observe(e report.Event) {
	if em.app.Load() == nil {
		return // there are no handlers
	}
	select {
	case <-em.over: // whether or not there is room
		return
	default:
	}
	select {
	case em.waiting <- e:
		if !em.running.Swap(true) {
			go em.run()
		}
	default:
		em.logger.Warn("event dropped: its handlers are too slow", zap.String("event", eventPrefix+e.Name))
	}
}

// startPoll is how often to look whether the configuration has started.
const startPoll = 20 * time.Millisecond

// run emits what waits, once the configuration has started. It returns when nothing
// waits, or when the configuration is over.
func (em *emitter) run() {
	for em.awaitStart() {
		select {
		case <-em.over:
			em.running.Store(false)
			return
		case e := <-em.waiting:
			em.emit(e)
			continue
		default:
		}
		em.running.Store(false)
		if len(em.waiting) == 0 || em.running.Swap(true) {
			return // whatever comes runs it again
		}
	}
	em.running.Store(false)
}

// awaitStart waits until the configuration has started. It is false if it is over.
func (em *emitter) awaitStart() bool {
	for !em.inForce() {
		select {
		case <-em.over:
			return false
		case <-time.After(startPoll):
		}
	}
	return true
}
