package connect

import (
	"context"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
)

// updateTimeout is how long an update of host keys may take: the bastion's proof, and the
// storage's lock.
const updateTimeout = time.Minute

// updateHostKeys updates the learned host keys when the bastion lists its own, once, if
// they may be. It returns the requests of the bastion that are to be answered.
func (c *Connection) updateHostKeys(requests <-chan *ssh.Request) <-chan *ssh.Request {
	if !c.keys.Updates() {
		return requests
	}
	others := make(chan *ssh.Request)
	// It returns when the transport has ended.
	go func() {
		defer close(others)
		listed := false
		for req := range requests {
			if req.Type == hostkey.AnnounceRequest && !listed {
				listed = true
				go c.updateFrom(req.Payload)
			}
			others <- req
		}
	}()
	return others
}

// updateFrom updates the learned host keys from the bastion's list. It returns when that
// is done, updateTimeout has passed, or the connection has ended.
func (c *Connection) updateFrom(list []byte) {
	ctx, cancel := context.WithTimeout(c.Client.Context(), updateTimeout)
	defer cancel()
	s := hostkey.Session{ID: c.conn.SessionID(), Prove: func(ctx context.Context, keys []byte) ([]byte, error) {
		return c.Client.Ask(ctx, hostkey.ProveRequest, keys)
	}}
	if meta, ok := c.conn.(ssh.AlgorithmsConnMetadata); ok {
		s.HostKeyAlgorithm = meta.Algorithms().HostKey
	}
	c.keys.Update(ctx, list, s)
}
