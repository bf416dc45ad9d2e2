package sshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"
)

// bastion_channel.go connects the channels that clients open to their targets.

// directTCPIP is the payload of a direct-tcpip open (RFC 4254 section 7.2).
type directTCPIP struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// directStreamlocal is the payload of a direct-streamlocal@openssh.com open
// (section 2.4 of OpenSSH's PROTOCOL).
type directStreamlocal struct {
	Path      string
	Reserved1 string
	Reserved2 uint32
}

// errProhibited is that the client may not be connected to the target.
var errProhibited = errors.New("administratively prohibited")

// parseOpen reads what a client wants to be connected to.
func parseOpen(user string, open ssh.NewChannel) (Open, error) {
	switch open.ChannelType() {
	case "direct-tcpip":
		var p directTCPIP
		if err := ssh.Unmarshal(open.ExtraData(), &p); err != nil {
			return Open{}, &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "open failed"}
		}
		return Open{
			User:       user,
			Network:    "tcp",
			Address:    joinHostPort(p.Host, p.Port),
			Originator: joinHostPort(p.OriginHost, p.OriginPort),
		}, nil
	case "direct-streamlocal@openssh.com":
		var p directStreamlocal
		if err := ssh.Unmarshal(open.ExtraData(), &p); err != nil {
			return Open{}, &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "open failed"}
		}
		return Open{User: user, Network: "unix", Address: p.Path}, nil
	case "session":
		return Open{}, &ssh.OpenChannelError{Reason: ssh.Prohibited, Message: "this server only forwards"}
	default:
		return Open{}, &ssh.OpenChannelError{Reason: ssh.UnknownChannelType, Message: "unknown channel type"}
	}
}

func joinHostPort(host string, port uint32) string {
	return net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}

// serveOpen is one channel, from its open to its end. It returns when the
// channel was refused, or has closed, or its connection has.
func (b *Bastion) serveOpen(ctx context.Context, conn *ssh.ServerConn, request ssh.NewChannel) {
	open, err := parseOpen(conn.User(), request)
	if err != nil {
		if b.hold(ctx, func(f Faults) bool { return f.HoldRequests }) != nil {
			return
		}
		refuse(request, "", err)
		return
	}
	b.mu.Lock()
	b.opens = record(b.opens, open)
	b.stats.Opens++
	b.stats.Pending++
	b.mu.Unlock()

	target, err := b.connect(ctx, conn.Permissions, open)
	var channel ssh.Channel
	var requests <-chan *ssh.Request
	b.mu.Lock()
	b.stats.Pending--
	if err == nil {
		// Counted before the client can know, so that whoever has seen the
		// channel open finds it counted.
		b.stats.Channels++
	}
	b.mu.Unlock()
	if err != nil {
		b.opts.Logf("channel of %s to %s refused: %v", open.User, open.Address, err)
		refuse(request, open.Network, err)
		return
	}
	defer func() {
		_ = target.Close()
		b.mu.Lock()
		b.stats.Channels--
		b.mu.Unlock()
	}()
	if channel, requests, err = request.Accept(); err != nil {
		return // the connection is gone
	}
	b.opts.Logf("channel of %s to %s opened", open.User, open.Address)
	if faults, _ := b.currentFaults(); faults.CloseChannels {
		_ = channel.Close()
		ssh.DiscardRequests(requests)
		return
	}
	up, down := b.pipe(ctx, channel, requests, target)
	b.opts.Logf("channel of %s to %s closed: %d bytes up, %d down", open.User, open.Address, up, down)
}

// connect connects to the target of a channel, if it is permitted.
func (b *Bastion) connect(ctx context.Context, permissions *ssh.Permissions, open Open) (net.Conn, error) {
	if err := b.hold(ctx, func(f Faults) bool { return f.HoldOpens }); err != nil {
		return nil, err
	}
	if _, ok := permissions.Extensions[permitForwarding]; !ok {
		return nil, errProhibited
	}
	if err := b.opts.PermitOpen(open.Network, open.Address); err != nil {
		if _, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errProhibited, err)
	}
	return b.opts.Dial(ctx, open.Network, open.Address)
}

// pipe copies both ways until the channel has closed. As sshd does, it passes
// an end of stream on for its direction alone, closes the channel first once
// both directions have ended, and takes an RST for an end of stream.
func (b *Bastion) pipe(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request, target net.Conn) (up, down int64) {
	stop := context.AfterFunc(ctx, func() { _ = target.Close() })
	defer stop()

	upDone, downDone, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	// Returns when the client has closed the channel or sent its end of stream.
	b.wg.Go(func() {
		defer close(upDone)
		var err error
		if up, err = io.Copy(target, channel); err != nil {
			// The target takes no more. The window must go on moving, and the
			// end of stream be seen.
			_, _ = io.Copy(io.Discard, channel)
			return
		}
		closeWrite(target)
	})
	// Returns when the target has ended its stream or was closed below.
	b.wg.Go(func() {
		defer close(downDone)
		down, _ = io.Copy(channel, target)
		_ = channel.CloseWrite()
	})
	// Returns when the channel is closed, from either side.
	b.wg.Go(func() {
		defer close(closed)
		ssh.DiscardRequests(requests)
	})

	<-upDone
	select {
	case <-downDone:
		_ = channel.Close()
	case <-closed:
		// The client wants nothing more from a target that may go on for ever.
		_ = target.Close()
	}
	<-downDone
	<-closed
	return up, down
}

// closeWrite half-closes a connection that can be.
func closeWrite(c net.Conn) {
	if c, ok := c.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

// refuse answers an open with err, as sshd would.
func refuse(request ssh.NewChannel, network string, err error) {
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); ok {
		_ = request.Reject(refusal.Reason, refusal.Message)
		return
	}
	switch {
	case network == "unix":
		// sshd does not say why it won't connect to a socket.
		_ = request.Reject(ssh.ConnectionFailed, "open failed")
	case errors.Is(err, errProhibited):
		_ = request.Reject(ssh.Prohibited, "open failed")
	default:
		_ = request.Reject(ssh.ConnectionFailed, strerror(err))
	}
}

// strerror is what sshd says of a failed connect: the text of strerror(3) or
// gai_strerror(3).
func strerror(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "Name or service not known"
		}
		return "Temporary failure in name resolution"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		// Go's table differs from the C library's in nothing but the capital.
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "Connection timed out"
	}
	return "open failed"
}
