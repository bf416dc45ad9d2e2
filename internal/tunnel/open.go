package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

const (
	// maxPendingOpens and maxPendingOpensPerTarget bound the opens that a
	// bastion has not answered yet, or has answered too late and not closed:
	// each one holds a file descriptor of sshd's and cannot be cancelled.
	maxPendingOpens          = 256
	maxPendingOpensPerTarget = 64
)

// errLinkLost says that the link died before the bastion answered an open.
// Nothing was sent to the target, so the open may be tried on another link.
var errLinkLost = errors.New("connection to the bastion lost")

// defaultOriginator is sent where no peer is forwarded, as for the pooled
// connections of an HTTP transport. OpenSSH sends the same for ssh -W.
var defaultOriginator = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 65535)

// directTCPIP is the payload of a "direct-tcpip" open (RFC 4254 section 7.2).
type directTCPIP struct {
	Host           string
	Port           uint32
	OriginatorHost string
	OriginatorPort uint32
}

// directStreamLocal is the payload of a "direct-streamlocal@openssh.com" open
// (OpenSSH's PROTOCOL, section 2.4).
type directStreamLocal struct {
	SocketPath string
	Reserved0  string
	Reserved1  uint32
}

// openRequest is an open on its way.
type openRequest struct {
	target Target
	// lookup is the name that the bastion has to look up, or "".
	lookup        string
	chanType      string
	payload       []byte
	local, remote net.Addr
}

// newOpenRequest checks the target and puts it into SSH's words.
func newOpenRequest(t Target) (*openRequest, error) {
	from := t.Originator
	if !from.IsValid() {
		from = defaultOriginator
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	r := &openRequest{target: t, local: net.TCPAddrFromAddrPort(from)}
	switch t.Network {
	case "unix":
		r.chanType = "direct-streamlocal@openssh.com"
		r.payload = ssh.Marshal(directStreamLocal{SocketPath: t.Address})
		r.remote = &net.UnixAddr{Net: "unix", Name: t.Address}
	case "tcp", "tcp4", "tcp6":
		host, portText, err := net.SplitHostPort(t.Address)
		if err != nil {
			return nil, fmt.Errorf("target %q: %w", t.Address, err)
		}
		port, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || port == 0 {
			return nil, fmt.Errorf("target %q: port must be a number from 1 to 65535", t.Address)
		}
		r.chanType = "direct-tcpip"
		r.payload = ssh.Marshal(directTCPIP{host, uint32(port), from.Addr().WithZone("").String(), uint32(from.Port())})
		r.remote, r.lookup = nameAddr(t.Address), strings.ToLower(host)
		if addr, err := netip.ParseAddr(host); err == nil {
			r.lookup = ""
			r.remote = net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, uint16(port)))
		}
	default:
		return nil, fmt.Errorf("target network %q is neither tcp nor unix", t.Network)
	}
	return r, nil
}

// nameAddr is the address of a target whose name only the bastion resolves.
type nameAddr string

func (nameAddr) Network() string  { return "tcp" }
func (a nameAddr) String() string { return string(a) }

// open opens a channel. It counts as one of the link's channels already, and as an
// unanswered open. If the link stalls, an open that may move fails with errStalled,
// unless it is the one whose lookup is the reason.
func (l *link) open(ctx context.Context, r *openRequest, mayMove bool) (*Conn, error) {
	o := &opening{answer: make(chan openAnswer, 1)}
	var stalled <-chan struct{}
	if mayMove {
		stalled = l.stallBegun()
	}
	go l.runChannel(o, r)
	var gaveUp error
	for gaveUp == nil {
		select {
		case a := <-o.answer:
			return a.conn, a.err
		case <-l.wire.Dead():
			gaveUp = errLinkLost
		case <-stalled:
			stalled = nil
			if !l.lookups.isCulprit(o) {
				gaveUp = errStalled
			}
		case <-ctx.Done():
			gaveUp = &TimeoutError{Tunnel: l.entry.cfg.Name, Doing: fmt.Sprintf("opening channel to %q", r.target.Address), Cause: context.Cause(ctx)}
		}
	}
	if o.abandon() {
		l.entry.channelEnded(l) // one that nobody waits for holds up no drain
		return nil, gaveUp
	}
	a := <-o.answer // it came in the same moment
	return a.conn, a.err
}

// opening is the hand-over of an open channel from runChannel to open.
type opening struct {
	answer chan openAnswer
	// mu guards settled: whether the answer was delivered or given up.
	mu      sync.Mutex
	settled bool
}

type openAnswer struct {
	conn *Conn
	err  error
}

// deliver hands the answer over, unless nobody waits for it any more.
func (o *opening) deliver(a openAnswer) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settled {
		return false
	}
	o.settled = true
	o.answer <- a
	return true
}

// abandon gives up waiting, unless the answer has been delivered.
func (o *opening) abandon() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settled {
		return false
	}
	o.settled = true
	return true
}

// runChannel opens a channel and serves it. An open that succeeds after it was
// given up is closed: SSH has no message to take an open back. It returns when
// the channel was refused, or has ended, or as serve does.
func (l *link) runChannel(o *opening, r *openRequest) {
	if l.wire.IsDead() {
		l.entry.answered(l, r.target.Address)
		l.finish(o, errLinkLost)
		return
	}
	l.lookups.begin(o, r.lookup, l.wire.Now())
	l.beginWrite()
	ch, requests, err := l.conn.OpenChannel(r.chanType, r.payload)
	l.endWrite()
	if took := l.lookups.end(o, l.wire.Now()); took > 0 && took < stallAfter {
		l.entry.foundFast(r.lookup)
	}
	if err != nil {
		l.entry.answered(l, r.target.Address)
		l.finish(o, l.openError(r, err))
		return
	}
	c := newConn(l, ch, requests, r.local, r.remote)
	if o.deliver(openAnswer{conn: c}) {
		l.entry.answered(l, r.target.Address)
		l.serve(c)
		return
	}
	// It is none of the link's channels, and counts as an unanswered open until
	// the bastion has closed it as well: one that closes none would have us keep
	// what it has sent on each.
	l.entry.mu.Lock()
	l.opens.answeredLate(r.target.Address)
	l.entry.mu.Unlock()
	_ = c.Close()
	answerRequests(requests)
	l.entry.answered(l, r.target.Address)
}

// finish ends an open that has failed.
func (l *link) finish(o *opening, err error) {
	if o.deliver(openAnswer{err: err}) {
		l.entry.channelEnded(l)
	}
}

// serve looks after an open channel. It returns when the channel has ended and
// been read to its end or closed: until then the channel counts, so that no
// drain cuts off what has arrived.
func (l *link) serve(c *Conn) {
	start := time.Now()
	l.entry.channelOpened(l, c)
	l.debugChannel("channel opened", c)
	answerRequests(c.requests)
	close(c.closedByPeer)
	select {
	case <-c.ended:
	case <-c.closed:
	}
	l.entry.channelClosed(l, c)
	read, written := c.Stats()
	l.debugChannel("channel closed", c,
		zap.Int64("read", read), zap.Int64("written", written), zap.Duration("duration", time.Since(start)))
}

// answerRequests answers what the bastion asks on a connection or a channel,
// such as sshd's keepalives, at once: an unanswered one would hold up every
// channel. It returns when that has ended, or the transport has died.
func answerRequests(requests <-chan *ssh.Request) {
	for req := range requests {
		answerRequest(req)
	}
}

// answerRequest refuses what the bastion asks.
func answerRequest(req *ssh.Request) {
	if req.WantReply {
		_ = req.Reply(false, nil) // fails only if the link is dead
	}
}

// debugChannel logs a line about a channel, if anybody reads it.
func (l *link) debugChannel(msg string, c *Conn, fields ...zap.Field) {
	if l.entry.settings().Logger.Core().Enabled(zap.DebugLevel) {
		l.entry.log().Debug(msg, append(fields, zap.Stringer("local", c.local), zap.Stringer("remote", c.remote))...)
	}
}

// isLoopbackName tells whether a target is the bastion itself, which has several names.
func isLoopbackName(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// openError puts the bastion's refusal into plain words.
func (l *link) openError(r *openRequest, err error) error {
	refused, ok := errors.AsType[*ssh.OpenChannelError](err)
	if !ok {
		return errLinkLost
	}
	e := &failure.OpenError{Tunnel: l.entry.cfg.Name, Target: r.target.Address, Detail: printable.Text(refused.Message)}
	switch refused.Reason {
	case ssh.Prohibited:
		e.Reason = failure.OpenProhibited
		e.Detail = "AllowTcpForwarding or PermitOpen on the bastion, or a certificate or key without permit-port-forwarding"
		if isLoopbackName(r.target.Address) {
			e.Detail += fmt.Sprintf("; PermitOpen and permitopen have to list %q: to sshd, localhost and 127.0.0.1 differ", r.target.Address)
		}
		if r.target.Network == "unix" {
			e.Detail = "AllowStreamLocalForwarding on the bastion, or a certificate or key without permit-port-forwarding"
		}
		e.Detail += "; " + newConnectionHint(e.Tunnel)
	case ssh.UnknownChannelType:
		e.Reason = failure.OpenUnsupported
		e.Detail = fmt.Sprintf("the bastion does not know %q", r.chanType)
	case ssh.ResourceShortage:
		e.Reason, e.Crowded = failure.OpenShortage, true
	default:
		e.Reason = failure.ReasonOf(refused.Message)
		switch e.Reason {
		case failure.OpenRefused:
			e.Detail = "nothing listens there, as seen from the bastion"
		case failure.OpenUnknownName:
			e.Detail = "the bastion cannot resolve the name"
		case failure.OpenFailed:
			// What sshd says when it has no more files for the connection, too.
			e.Crowded = true
			e.Detail = unsaidReason(r.target.Network, e.Detail)
		}
	}
	return e
}

// unsaidReason says what it can be when the bastion does not tell. sshd says
// "open failed" of whatever goes wrong before it waits for the target.
func unsaidReason(network, said string) string {
	if said != "" && !strings.EqualFold(said, "open failed") && !strings.EqualFold(said, "connect failed") {
		return said
	}
	if network == "unix" {
		return "no such socket, no permission for it, or AllowStreamLocalForwarding off on the bastion; see the bastion's log"
	}
	return "the bastion does not say why; it may have no route to the target: see the bastion's log"
}
