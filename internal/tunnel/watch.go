package tunnel

import (
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/filewatch"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

const (
	// fileSettle is how long files are left alone after something has happened to
	// one: a program that renews a key and a certificate writes both.
	fileSettle = 100 * time.Millisecond
	// filePoll is how often files are looked at that cannot be watched.
	filePoll = 2 * time.Second
	// fileRecheck is how often those are that are watched: a network file system
	// and the mounts of some virtual machines report no change made elsewhere.
	fileRecheck = 10 * time.Second
)

// watchFiles sees to what follows from a change of the files that the tunnel
// depends on: an attempt to connect that was refused is made again at once,
// connections with a certificate make place for those with its successor, and of
// private keys that others can read there is a warning. It returns when the pool
// ends.
func (p *pool) watchFiles() {
	watch := filewatch.New()
	defer watch.Close()
	keeper := newCertKeeper(p)
	var modes sshauth.KeyModes
	timer := time.NewTimer(0)
	defer timer.Stop()
	stamp := ""
	for {
		paths := p.cfg.Files()
		complete := watch.Set(paths)
		// After that, so that no change is missed in between.
		if now := filewatch.Stamp(paths); now != stamp {
			stamp = now
			p.mu.Lock()
			p.wake()
			p.mu.Unlock()
		}
		modes.Look(p.cfg.Auth().KeyFiles(), p.log)
		wait := fileRecheck
		if !complete {
			wait = filePoll
		}
		if next := keeper.look(time.Now()); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		timer.Reset(wait)
		select {
		case <-watch.C:
			timer.Reset(fileSettle)
			select {
			case <-timer.C:
			case <-p.ctx.Done():
				return
			}
			select {
			case <-watch.C: // of what is looked at now
			default:
			}
		case <-p.certified:
		case <-timer.C:
		case <-p.ctx.Done():
			return
		}
	}
}

// watchCertificates has watchFiles look at a new connection's certificates.
func (m *member) watchCertificates() {
	if len(m.certificates) == 0 {
		return
	}
	select {
	case m.pool.certified <- struct{}{}:
	default:
	}
}
