package renewal

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// certKeeper follows the certificates that a tunnel's connections were let in with.
type certKeeper struct {
	cfg    *connect.Config
	tunnel Tunnel
	// told is what was said of each certificate that is in use, by its bytes.
	told map[string]certNews
}

// certNews is what was last said of a certificate.
type certNews int

const (
	certSeen certNews = iota + 1
	certExpiring
	certExpired
)

const (
	// expiryShare and maxExpiryNotice say how long before its end a certificate
	// should have been renewed: after three quarters of its life, and a week
	// before at the latest.
	expiryShare     = 4
	maxExpiryNotice = 7 * 24 * time.Hour
	// shortLived certificates begin before they are made, by more than their
	// notice may be: ssh-keygen starts with the minute before. Their life counts
	// from the connection's start.
	shortLived = time.Hour
)

func newCertKeeper(cfg *connect.Config, tunnel Tunnel) *certKeeper {
	return &certKeeper{cfg: cfg, tunnel: tunnel, told: map[string]certNews{}}
}

// look asks for new connections in the place of those whose certificate has a
// successor, and warns of certificates that end without. It returns when there
// will be something to see without a change of the files; zero for never.
func (k *certKeeper) look(now time.Time) (next time.Time) {
	soonest := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	inUse := map[string]certNews{}
	for _, c := range k.tunnel.Connections() {
		for _, cert := range c.Certificates() {
			if !cert.FromAgent {
				successor, from := k.cfg.Auth().Successor(cert)
				soonest(from)
				if successor != nil {
					k.tunnel.Replace(c, fmt.Sprintf("a new certificate, which expires %s", algorithms.FormatTime(successor.ValidBefore)))
				}
			}
			id := string(cert.Marshal())
			if _, again := inUse[id]; !again {
				inUse[id] = k.tell(cert, k.told[id], c.Started(), now, soonest)
			}
		}
	}
	k.told = inUse
	return next
}

// tell logs what there is to say of a certificate and was not said before.
func (k *certKeeper) tell(cert sshauth.Certificate, told certNews, opened, now time.Time, soonest func(time.Time)) certNews {
	about := []zap.Field{zap.String("certificate", printable.Text(cert.KeyId)), zap.String("path", cert.Path), zap.String("expires", algorithms.FormatTime(cert.ValidBefore))}
	log := k.tunnel.Log().With(about...)
	remaining := algorithms.ValidUntil(cert.Certificate).Sub(now).Round(time.Second)
	report := func() {
		k.tunnel.Expiring(append(about, zap.Duration("remaining", max(0, remaining))))
	}
	if told == 0 {
		told = certSeen
		if !cert.PermitsForwarding() {
			log.Warn("certificate permits no forwarding; every channel is refused")
		}
	}
	expiry := algorithms.ValidUntil(cert.Certificate)
	if expiry.IsZero() || cert.FromAgent { // an agent renews what it holds
		return told
	}
	notice := expiry.Add(-expiryNotice(cert.Certificate, opened))
	soonest(notice)
	soonest(expiry)
	switch {
	case told < certExpired && !now.Before(expiry):
		told = certExpired
		log.Warn("certificate has expired and was not renewed; open connections go on, but no new one can use it")
		report()
	case told < certExpiring && !now.Before(notice):
		told = certExpiring
		log.Warn("certificate expires soon and was not renewed", zap.Duration("remaining", remaining))
		report()
	}
	return told
}

// expiryNotice is how long before its end a certificate should have been
// renewed, which a connection opened at a time was let in with.
func expiryNotice(cert *ssh.Certificate, opened time.Time) time.Duration {
	end := algorithms.ValidUntil(cert)
	start := algorithms.ValidFrom(cert)
	if end.Sub(start) < shortLived && opened.After(start) {
		start = opened
	}
	return max(0, min(end.Sub(start)/expiryShare, maxExpiryNotice))
}
