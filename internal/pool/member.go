package pool

import (
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
)

// member is one SSH connection of a pool. It owns the sshconn.Client.
type member struct {
	pool   *Pool
	client *sshconn.Client
	// host is what it is connected to.
	host *host
	// about is what the log says of the connection.
	about []zap.Field
	// certificates are those that let it in.
	certificates []sshauth.Certificate
	// attempt is the record of its connect.
	attempt *connect.Attempt
	// draining is closed once the connection takes no more channels.
	draining chan struct{}

	// The rest is guarded by Pool.mu.

	// opens counts the opens that are unanswered.
	opens *openLimiter
	// carries is the class of its channels. take, channelEnded and leaveToTransfers change it.
	carries Class
	// superseded says that with the connection the last connections were lost, and that
	// there is another one before the pool knows of its death.
	superseded bool
	// reported says that the log and the observer have its loss.
	reported bool
	// state changes by enter. reason is why it is memberReplacing.
	state  memberState
	reason reason
	// channels counts the open channels and those being opened.
	channels int
	// held counts those of them that remote forwards hold; see Hold.
	held int
	// limit is how many channels it takes; if less than any, since cappedAt.
	limit    int
	cappedAt time.Time
	// conns are the open channels. quiet counts those without traffic, and transfers
	// those that carry a download or an upload; updateLoad keeps both.
	conns            map[*Conn]*activity
	quiet, transfers int
	// stuck counts those that the bastion does not close: see isStuck.
	stuck int
	// shedAt is when pools of channels were asked to let go of idle channels because of too
	// many quiet ones; zero if there are not. shed says that they have had time
	// to do so.
	shedAt time.Time
	shed   bool
	// stall is whether it takes no channels since the bastion does not respond.
	stall stall
	// prohibited is what the bastion prohibited on it last, or nil.
	prohibited *report.ErrorStatus
	// used is when a channel last ended or was opened.
	used time.Time
	// drainTimer ends the draining.
	drainTimer *time.Timer
}

// memberState is how a member stands with its pool.
//
//	active <--> replacing --> draining --> closed
//	   +------------------------------------^
type memberState int

const (
	// memberActive: it takes new channels, unless it is stalled.
	memberActive memberState = iota
	// memberReplacing: it does, until a new connection takes over from it.
	memberReplacing
	// memberDraining: it ends with its channels.
	memberDraining
	// memberClosed: we have closed it.
	memberClosed
)

// enter changes the state. The caller holds Pool.mu.
func (m *member) enter(state memberState) { m.state = state }

// replace asks for a new connection in the place of this one. The caller holds Pool.mu.
func (m *member) replace(why reason) {
	m.enter(memberReplacing)
	m.reason = why
}

// newMember makes a member of a connection. Whoever puts it into service runs watch.
func (p *Pool) newMember(c *connect.Connection) *member {
	return &member{
		pool: p, host: p.hosts[c.Host.Rank], client: c.Client, about: c.About, certificates: c.Certificates, attempt: c.Attempt,
		opens: newOpenLimiter(), draining: make(chan struct{}), used: time.Now(),
		carries: anyClass, limit: maxChannels, conns: map[*Conn]*activity{},
	}
}

// watch tells the pool of the connection's death. It starts when the pool knows the
// connection, and returns when the connection has ended.
func (m *member) watch() { m.pool.lost(m, printable.Error(m.client.Wait())) }

// KeepAlive implements sshconn.Owner.
func (m *member) KeepAlive() sshconn.KeepAlive {
	set := m.pool.settings()
	return sshconn.KeepAlive{Interval: set.ServerAliveInterval, CountMax: set.ServerAliveCountMax}
}

// Tick implements sshconn.Owner.
func (m *member) Tick() {
	if why, text := m.dueForReplacement(m.pool.settings()); why != "" {
		m.pool.replace(m, why, text)
	}
	m.pool.updateLoad(m)
}

// Probing implements sshconn.Owner.
func (m *member) Probing(silent time.Duration) {
	m.pool.log().Debug("probing the bastion", zap.Duration("silent", silent))
}

// Probed implements sshconn.Owner.
func (m *member) Probed(took time.Duration) { m.pool.counters.RoundTrips.Observe(took.Seconds()) }

// Incoming implements sshconn.Owner. It queues a channel for the listener that asked
// for it.
func (m *member) Incoming(open ssh.NewChannel) bool {
	if m.pool.forwards.Take(m, open) {
		return true
	}
	if r := &m.pool.reports; r.First("unasked") {
		m.pool.log().Log(r.FollowUp(zap.WarnLevel, m.client.Age()), "refused a channel that the bastion opened unasked", zap.String("type", printable.Text(open.ChannelType())))
	}
	return false
}

// Answered implements sshconn.Owner.
func (m *member) Answered(target string) {
	p := m.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	m.opens.release(target)
	p.serveQueue()
}

// AnsweredLate implements sshconn.Owner. The channel is none of the connection's.
func (m *member) AnsweredLate(target string) {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	m.opens.answeredLate(target)
}

// LookedUp implements sshconn.Owner.
func (m *member) LookedUp(name string) {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	delete(m.pool.slow, name)
}

// Opened implements sshconn.Owner.
func (m *member) Opened(c *Conn) {
	p := m.pool
	p.mu.Lock()
	now := time.Now()
	m.conns[c] = &activity{since: now, turned: now}
	p.mu.Unlock()
	m.debugChannel("channel opened", c)
}

// Closed implements sshconn.Owner.
func (m *member) Closed(c *Conn) {
	p := m.pool
	p.mu.Lock()
	if m.conns[c].stuck {
		m.stuck--
	}
	delete(m.conns, c)
	p.mu.Unlock()
	p.channelEnded(m)
	read, written := c.Stats()
	m.debugChannel("channel closed", c,
		zap.Int64("read", read), zap.Int64("written", written), zap.Duration("duration", time.Since(c.Opened())))
}

// debugChannel logs a line about a channel, if anybody reads it.
func (m *member) debugChannel(msg string, c *Conn, fields ...zap.Field) {
	if m.pool.settings().Logger.Core().Enabled(zap.DebugLevel) {
		m.pool.log().Debug(msg, append(fields, zap.Stringer("local", c.LocalAddr()), zap.Stringer("remote", c.RemoteAddr()))...)
	}
}

// dueForReplacement returns why a new connection should take over from the
// connection, or "".
func (m *member) dueForReplacement(set Settings) (why reason, text string) {
	if m.client.Bytes() >= set.RekeyBytes {
		return reasonRekey, "rekey_limit reached: bytes"
	}
	if set.RekeyInterval > 0 && m.client.Age() >= set.RekeyInterval {
		return reasonRekey, "rekey_limit reached: time"
	}
	if n := m.tooStuck(); n > 0 {
		return reasonStuck, fmt.Sprintf("the bastion does not close %d channels, whose targets may have stopped reading", n)
	}
	if via := m.client.Via(); via != nil && via.Owner().(*member).isDraining() {
		return reasonJump, "the connection jumped through was replaced"
	}
	return "", ""
}

// stuckLimit is how many stuck channels a connection is replaced for, lest targets that
// have stopped reading take the room of those that have not. They are those that we have
// closed and the bastion has not: sshd closes a channel once the target has all that was
// sent to it. One that has stopped reading keeps it, and a place and a file of sshd's, for
// as long as it is there. SSH has nothing that would end such a channel but the end of its
// connection.
const stuckLimit = easyChannels / 2

// live counts the channels that are not stuck: what a draining connection is kept
// for. The caller holds Pool.mu.
func (m *member) live() int { return m.channels - m.stuck }

// tooStuck returns how many channels are stuck if they are too many, or 0.
func (m *member) tooStuck() int {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if m.stuck < stuckLimit {
		return 0
	}
	return m.stuck
}

var _ sshconn.Owner = (*member)(nil)
