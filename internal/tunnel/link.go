package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// link is one SSH connection of an entry.
type link struct {
	entry *entry
	// host is what it is connected to.
	host *host
	wire *wire.Conn
	conn ssh.Conn
	// about is what the log says of the connection.
	about []zap.Field
	// certificates are those that let it in.
	certificates []credential
	// attempt is the record of its connect.
	attempt *Attempt

	opens   *openLimiter
	lookups lookups
	prober  prober
	waiting waiting
	// received and sent are bytes that went through its channels.
	received, sent atomic.Int64
	// roundTrip is how long the answer to the last keepalive took, in
	// nanoseconds; 0 before the first.
	roundTrip atomic.Int64
	// fastest is the shortest of them.
	fastest atomic.Int64
	// draining is closed once the link takes no more channels.
	draining chan struct{}

	// The rest is guarded by entry.mu.

	// role is what the link is for.
	role role
	// outlived tells that with the link the last connections were lost, and that
	// there is another one before the entry knows of its death.
	outlived bool
	// told tells that the log and the observer have been told of its death.
	told bool
	// replacing tells that a new connection is to take over from the link, and
	// reason why.
	replacing bool
	reason    reason
	// channels counts the open channels and those being opened.
	channels int
	// inbound are those of them that the bastion has opened for forwards.
	inbound int
	// limit is how many channels it takes; if less than any, since filled.
	limit  int
	filled time.Time
	// opened is when a channel last opened. excused are targets that it did not
	// open a channel to, nor another connection, and when: see dialElsewhere.
	opened  time.Time
	excused map[string]time.Time
	// conns are the open channels. quiet counts those without traffic; tend
	// keeps it.
	conns map[*Conn]*activity
	quiet int
	// stuck counts those that the bastion does not close: see isStuck.
	stuck int
	// shedAt is when pools were told to let go of idle channels because of too
	// many quiet ones; zero if there are not. shed tells that they have had time
	// to do so.
	shedAt time.Time
	shed   bool
	// stall is whether it takes no channels since the bastion does not respond.
	stall stall
	// prohibited is what the bastion prohibited on it last, or nil.
	prohibited *ErrorStatus
	// used is when a channel last ended or was opened.
	used time.Time
	// retired tells that the link was closed by us.
	retired bool
	// drainTimer ends the draining.
	drainTimer *time.Timer
}

// newLink takes over a transport whose handshake has ended, and what comes in
// on it. Its goroutines return when the transport has died. Whoever puts it
// into service runs watch.
func newLink(e *entry, h *host, w *wire.Conn, conn ssh.Conn, opens <-chan ssh.NewChannel, requests <-chan *ssh.Request, about []zap.Field) *link {
	l := &link{
		entry: e, host: h, wire: w, conn: conn, about: about,
		opens: newOpenLimiter(), draining: make(chan struct{}), used: time.Now(),
		limit: maxChannels, conns: map[*Conn]*activity{},
		stall: stall{begun: make(chan struct{})},
	}
	go answerRequests(requests)
	go l.answerOpens(opens)
	go l.keepAlive()
	return l
}

// maxUnaskedLogged is how many of a connection's channels that nobody asked for
// are logged.
const maxUnaskedLogged = 10

// answerOpens queues the channels that the bastion opens towards us for the
// listener that asked for them, and refuses all others, each at once: one that
// waits would hold up every channel. The first refused one is a warning, and a
// few more are for debugging; a bastion that opens many is not to fill the log.
// It returns when the transport has died, and sees to it that it does.
func (l *link) answerOpens(opens <-chan ssh.NewChannel) {
	defer takeLeftover(l.conn) // x/crypto has given up
	level, refused := zap.WarnLevel, 0
	for ch := range opens {
		if l.takeForwarded(ch) {
			continue
		}
		if refused++; refused <= maxUnaskedLogged {
			l.entry.log().Log(l.entry.flaps.level(l, level), "refused a channel that the bastion opened unasked", zap.String("type", printable.Text(ch.ChannelType())))
		}
		level = zap.DebugLevel
		_ = ch.Reject(ssh.Prohibited, "not asked for") // fails only if the link is dead
	}
}

// watch tells the entry of the link's death. It starts when the entry knows the
// link, and returns when the transport has died.
func (l *link) watch() {
	<-l.wire.Dead()
	if !errors.Is(l.wire.Err(), net.ErrClosed) {
		_ = l.conn.Close()
	}
	l.entry.lost(l, l.lossCause())
}

// lossCause returns why the link has died.
func (l *link) lossCause() error {
	cause := l.wire.Err()
	if errors.Is(cause, net.ErrClosed) {
		// x/crypto closed the wire, and knows why. Do not depend on it: its
		// Wait can outlast the transport.
		why := make(chan error, 1)
		go func() { why <- l.conn.Wait() }()
		select {
		case err := <-why:
			cause = err
		case <-time.After(time.Second):
		}
	}
	return printable.Error(cause)
}

// lostError is what reads and writes of a channel get once its link is dead.
func (l *link) lostError(op string, c *Conn) error {
	return c.opError(op, &lostError{cause: l.wire.Err()})
}

// lostError says that the connection to the bastion was lost while a channel
// was in use. It is an io.ErrUnexpectedEOF.
type lostError struct{ cause error }

func (e *lostError) Error() string {
	if e.cause == nil {
		return "connection to the bastion lost"
	}
	return fmt.Sprintf("connection to the bastion lost: %v", e.cause)
}

func (e *lostError) Unwrap() error { return io.ErrUnexpectedEOF }

// waiting counts what the bastion is expected to answer.
type waiting struct {
	// busy is how many opens and writes are under way.
	busy atomic.Int32
	// since is when, on the wire's clock, the first thing was sent that nothing
	// had come in after, when it was last looked at; 0 if nothing was sent.
	since atomic.Int64
}

// beginWrite and endWrite stand around everything that waits for the bastion.
func (l *link) beginWrite() {
	l.waiting.busy.Add(1)
	if since := l.waiting.since.Load(); since <= int64(l.wire.LastHeard()) {
		l.waiting.since.CompareAndSwap(since, int64(l.wire.Now()))
	}
}

func (l *link) endWrite() { l.waiting.busy.Add(-1) }

// waitingFor is how long something has waited with no byte from the bastion.
func (l *link) waitingFor() time.Duration {
	heard, since := l.wire.LastHeard(), time.Duration(l.waiting.since.Load())
	switch {
	case since > heard:
		return l.wire.Now() - since
	case l.waiting.busy.Load() > 0 || l.wire.Unsent():
		return l.wire.Now() - heard
	default:
		return 0
	}
}
