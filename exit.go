package sshtunnel

// exit.go gives the raw connections, which nobody else waits for, a time to end
// when the process exits. It runs beside that of the HTTP app, whichever of the
// two apps Caddy stops first.

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/rawconn"
)

// defaultGracePeriod is shorter than what stops Caddy waits for: 5 seconds where
// systemd starts it, 10 in a container.
const defaultGracePeriod = 3 * time.Second

// watchExit makes the events app call beginExit before the first of the configuration's apps is
// stopped.
func (a *App) watchExit(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	return app.(*caddyevents.App).On("stopping", exitWatcher{a})
}

// exitWatcher handles the event that Caddy emits before it stops apps.
type exitWatcher struct{ app *App }

// Handle implements caddyevents.Handler.
func (w exitWatcher) Handle(context.Context, caddy.Event) error {
	w.app.beginExit()
	return nil
}

// beginExit starts the clock and stops the forwards' listening, if the process
// exits. It may be called again.
func (a *App) beginExit() {
	if caddy.Exiting() && a.exitEnd.IsZero() {
		a.exitEnd = time.Now().Add(a.gracePeriod())
		a.stopForwards()
	}
}

// awaitConns waits until the raw connections have ended, if the process exits, and
// resets those that have not when their time is over.
func (a *App) awaitConns() {
	if !a.exitEnd.IsZero() {
		rawconn.Open.End(time.Until(a.exitEnd))
	}
}

// gracePeriod returns how long raw connections may go on from the beginning of the
// exit. The HTTP app may be looked up only once all apps are provisioned: its own
// modules look up this one.
func (a *App) gracePeriod() time.Duration {
	grace, delay := defaultGracePeriod, time.Duration(0)
	if app, err := a.ctx.AppIfConfigured("http"); err == nil {
		if http, ok := app.(*caddyhttp.App); ok {
			delay = time.Duration(http.ShutdownDelay) // in which its listeners go on accepting
			if http.GracePeriod > 0 {
				grace = time.Duration(http.GracePeriod)
			}
		}
	}
	if a.GracePeriod != nil {
		grace = time.Duration(*a.GracePeriod)
	}
	return delay + grace
}
