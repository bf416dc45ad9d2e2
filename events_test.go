package sshtunnel

// events_test.go tests the events that Caddy's events app gets.

import (
	"context"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func init() { caddy.RegisterModule(eventCatcher{}) }

// caught is what eventCatcher has caught.
var caught = make(chan caddy.Event, 1000)

// eventCatcher is a handler of events.
type eventCatcher struct{}

func (eventCatcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.catch", New: func() caddy.Module { return new(eventCatcher) }}
}

func (*eventCatcher) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*eventCatcher) Handle(_ context.Context, e caddy.Event) error {
	caught <- e
	return nil
}

// TestModuleOfAnEvent: the events app asks for the app's module at any time, also while an
// exit begins.
func TestModuleOfAnEvent(t *testing.T) {
	t.Parallel()
	app := new(App)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_ = caddy.Module(app).CaddyModule()
	}()
	app.exitEnd = time.Now()
	<-asked
}

// TestCaddyEvents: a handler gets a connection, its loss and a refusal,
// also after a reload, and by the module's name.
func TestCaddyEvents(t *testing.T) {
	b, tun := newTunnel(t, "prod", nil)
	const on = "events {\non ssh_tunnel_connected catch\non ssh_tunnel_lost catch\non ssh_tunnel_refused catch\n}"
	address := serve(t, tun(b.Addr()), on, "respond ok")
	next := func(name string) caddy.Event {
		t.Helper()
		select {
		case e := <-caught:
			if e.Name() != name || e.Data["tunnel"] != "prod" || e.Data["address"] != b.Addr() || e.Origin().CaddyModule().ID != "ssh_tunnel" {
				t.Fatalf("got %s of %v: %v, want %s", e.Name(), e.Origin(), e.Data, name)
			}
			return e
		case <-time.After(sshtest.Patience):
			t.Fatalf("no event, want %s", name)
			return caddy.Event{}
		}
	}
	if e := next("ssh_tunnel_connected"); e.Data["reconnected"] != false {
		t.Errorf("got %v", e.Data)
	}
	if err := reload(address, tun(b.Addr()), on, "respond again"); err != nil {
		t.Fatal(err)
	}
	b.Kick()
	next("ssh_tunnel_lost")
	if e := next("ssh_tunnel_connected"); e.Data["reconnected"] != true {
		t.Errorf("got %v", e.Data)
	}
	b.SetHostKeys(sshtest.NewKey())
	b.Kick()
	next("ssh_tunnel_lost")
	if e := next("ssh_tunnel_refused"); e.Data["cause"] != string(failure.CauseHostKeyMismatch) {
		t.Errorf("got %v", e.Data)
	}
}

// TestEmitterDoesNotBlock: handlers that hang hold up no tunnel, and what waits
// for them is bounded.
func TestEmitterDoesNotBlock(t *testing.T) {
	hang, emitted := make(chan struct{}), make(chan string, 2*maxWaitingEvents)
	over := make(chan struct{})
	em := &emitter{
		logger:  caddy.Log(),
		inForce: func() bool { return true },
		emit: func(e report.Event) {
			<-hang
			emitted <- e.Name
		},
		waiting: make(chan report.Event, maxWaitingEvents),
		over:    over,
	}
	for range 2 * maxWaitingEvents {
		em.Observe(report.Event{Name: report.EventLost})
	}
	em.Observe(report.Event{Name: "too late"})
	close(hang)
	sshtest.Eventually(t, 10*time.Second, "all that waited are emitted", func() bool { return len(emitted) >= maxWaitingEvents })
	close(over)
	em.Observe(report.Event{Name: report.EventLost})
	sshtest.Eventually(t, sshtest.Patience, "the emitter's end", func() bool { return !em.running.Load() })
	if n := len(emitted); n > maxWaitingEvents+1 {
		t.Errorf("%d events were emitted", n)
	}
}
