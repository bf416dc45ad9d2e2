package sshconn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// openerror.go puts a refusal to open a channel into plain words.

// NewConnectionHint says how to apply a change on the bastion. sshd reads its
// configuration, the options of a key and the groups of the user as a connection
// begins.
func NewConnectionHint(tunnel string) string {
	return fmt.Sprintf("sshd keeps the settings that a connection started with: after a change there, run 'caddy ssh-tunnel reconnect %s'", tunnel)
}

// isLoopbackName reports whether a target is the bastion itself, which has several names.
func isLoopbackName(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// openError puts the bastion's refusal into plain words.
func (c *Client) openError(r *Request, err error) error {
	refused, ok := errors.AsType[*ssh.OpenChannelError](err)
	if !ok {
		return ErrLost
	}
	e := &failure.OpenError{Tunnel: c.about.Tunnel, Target: r.Address, Detail: printable.Text(refused.Message)}
	switch refused.Reason {
	case ssh.Prohibited:
		e.Reason = failure.OpenProhibited
		e.Detail = "AllowTcpForwarding or PermitOpen on the bastion, or a certificate or key without permit-port-forwarding"
		if isLoopbackName(r.Address) {
			e.Detail += fmt.Sprintf("; PermitOpen and permitopen have to list %q: to sshd, localhost and 127.0.0.1 differ", r.Address)
		}
		if r.remote.Network() == "unix" {
			e.Detail = "AllowStreamLocalForwarding on the bastion, or a certificate or key without permit-port-forwarding"
		}
		e.Detail += "; " + NewConnectionHint(e.Tunnel)
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
			e.Detail = unsaidReason(r.remote.Network(), e.Detail)
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
