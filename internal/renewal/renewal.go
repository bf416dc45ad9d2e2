// Package renewal watches the files that a tunnel depends on: after a change it asks for
// another attempt to connect, and for new connections where a certificate has a successor.
// It warns of certificates that end without one, and of private keys that others can read.
// It connects and closes nothing: that is its Tunnel's to do. Package pool imports it.
package renewal

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/filewatch"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

const (
	// Settle is how long files are left alone after something has happened to
	// one: a program that renews a key and a certificate writes both.
	Settle = 100 * time.Millisecond
	// poll is how often files are looked at that cannot be watched.
	poll = 2 * time.Second
	// Recheck is how often those are that are watched: a network file system
	// and the mounts of some virtual machines report no change made elsewhere.
	Recheck = 10 * time.Second
)

// Tunnel is the tunnel whose files are watched. Its methods are called with no lock held.
type Tunnel interface {
	// FilesChanged says that files have changed since the last call, or since there
	// was none.
	FilesChanged()
	// Connections returns the connections that take new channels.
	Connections() []Connection
	// Replace asks for a new connection in the place of one, and says why.
	Replace(c Connection, why string)
	// Expiring reports a certificate that was not renewed, with what the log says of it.
	Expiring(about []zap.Field)
	// Log returns the logger in force.
	Log() *zap.Logger
}

// Connection is one of a tunnel's SSH connections.
type Connection interface {
	// Certificates are those that it was let in with.
	Certificates() []sshauth.Certificate
	// Started is when the connection was made.
	Started() time.Time
}

// Watch watches the files of a tunnel. Who has made a connection with a certificate sends
// to certified. Watch returns when ctx ends.
func Watch(ctx context.Context, cfg *connect.Config, tunnel Tunnel, certified <-chan struct{}) {
	watch := filewatch.New()
	defer watch.Close()
	keeper := newCertKeeper(cfg, tunnel)
	var modes sshauth.KeyModes
	timer := time.NewTimer(0)
	defer timer.Stop()
	stamp := ""
	for {
		paths := cfg.Files()
		complete := watch.Set(paths)
		// After that, so that no change is missed in between.
		if now := filewatch.Stamp(paths); now != stamp {
			stamp = now
			tunnel.FilesChanged()
		}
		modes.Look(cfg.Auth().KeyFiles(), tunnel.Log)
		wait := Recheck
		if !complete {
			wait = poll
		}
		if next := keeper.look(time.Now()); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		timer.Reset(wait)
		select {
		case <-watch.C:
			timer.Reset(Settle)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			select {
			case <-watch.C: // of what is looked at now
			default:
			}
		case <-certified:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}
