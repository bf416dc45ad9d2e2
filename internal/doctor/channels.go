package doctor

// channels.go finds out what a bastion that has let us in does for
// us: whether it forwards, and which targets it reaches.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remedy"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// examineChannels finds out whether the bastion forwards, and whether it reaches
// the targets.
func (d *Doctor) examineChannels(l *hostLogin, report *HopReport) {
	targets, used := d.targets, d.config.Uses(l.t)
	if len(targets) == 0 {
		targets = used.Targets
	}
	// TCP and sockets are permitted apart. One kind says it for both.
	judged := "unix"
	if len(targets) == 0 || slices.ContainsFunc(targets, func(w need.Target) bool { return w.Network == "tcp" }) {
		judged = "tcp"
	}
	var steps []*Step
	var forbidden *Step
	answered := false
	for _, w := range targets {
		step := &Step{Step: stepTarget, Target: w.Address}
		steps = append(steps, step)
		d.dial(l, w, step)
		switch {
		case w.Network != judged:
		case isForbidden(step):
			forbidden = step
		default:
			answered = answered || step.OK || isOpenCause(step.Cause)
		}
	}
	forwarding := &Step{Step: stepForwarding, OK: true, Detail: "permitted"}
	switch {
	case answered:
	case forbidden == nil: // nothing says it yet
		forwarding = d.probe(l)
		switch {
		case len(targets) > 0:
		case forwarding.OK:
			forwarding.Detail += "; no target is known: name one with --target"
		case isForbidden(forwarding) && used.OnlyListens():
			*forwarding = Step{Step: stepForwarding, OK: true, Took: forwarding.Took, Detail: "prohibited, and not needed: nothing is dialed through this tunnel"}
		}
	default: // each of them is, for one reason
		forwarding = &Step{Step: stepForwarding, Took: forbidden.Took, Cause: forbidden.Cause, Error: forbidden.Error, Fix: forbidden.Fix}
		for _, step := range steps {
			if isForbidden(step) {
				*step = Step{Step: stepTarget, Target: step.Target, NotReached: true}
			}
		}
	}
	for _, c := range l.used {
		report.add(certificateStep(l, c, forwarding))
	}
	report.add(forwarding)
	report.add(steps...)
}

// isForbidden reports whether the bastion has no channels for us at all.
func isForbidden(step *Step) bool {
	return step.Cause == failure.Cause(failure.OpenProhibited.Word()) || step.Cause == failure.Cause(failure.OpenUnsupported.Word())
}

// isOpenCause reports whether a cause is a bastion's answer.
func isOpenCause(cause failure.Cause) bool {
	return slices.ContainsFunc(failure.OpenReasons(), func(r failure.OpenReason) bool { return failure.Cause(r.Word()) == cause })
}

// probeTarget is one that nothing listens on, and nothing is sent to.
var probeTarget = tunnel.Target{Network: "tcp", Address: "127.0.0.1:1", Class: tunnel.Stream}

// probe finds out whether the bastion forwards, where no target is known.
func (d *Doctor) probe(l *hostLogin) *Step {
	step := &Step{Step: stepForwarding}
	err := d.open(l, probeTarget, step)
	open, refused := errors.AsType[*failure.OpenError](err)
	if err == nil || refused && open.Reason != failure.OpenProhibited && open.Reason != failure.OpenUnsupported {
		step.OK, step.Detail = true, "permitted"
		return step
	}
	l.refused(step, probeTarget, err)
	if refused && open.Reason == failure.OpenProhibited {
		step.Fix = l.patient().FixNoTarget()
	}
	return step
}

// dial dials a target, if the tunnel's permit_open permits it.
func (d *Doctor) dial(l *hostLogin, w need.Target, step *Step) {
	target, err := l.t.Permission.Permit(w.Target)
	if err == nil {
		err = d.open(l, target, step)
	}
	if err != nil {
		l.refused(step, target, err)
		return
	}
	step.OK, step.Detail = true, w.By
}

// open opens a channel and closes it.
func (d *Doctor) open(l *hostLogin, target tunnel.Target, step *Step) error {
	timeout := l.t.Settings.WithDefaults().ConnectTimeout
	ctx, cancel := context.WithTimeoutCause(d.ctx, timeout, fmt.Errorf("no answer within %s", timeout))
	defer cancel()
	start := time.Now()
	conn, err := l.handle.Dial(ctx, target)
	step.Took = connect.Seconds(time.Since(start).Seconds())
	if err != nil {
		return err
	}
	return conn.Close()
}

// refused says why a target is not reached, and what to do.
func (l *hostLogin) refused(step *Step, target tunnel.Target, err error) {
	p := l.patient()
	p.Target = cmp.Or(target.Address, step.Target)
	step.Error = err.Error()
	open, isOpen := errors.AsType[*failure.OpenError](err)
	_, denied := errors.AsType[*permit.DeniedError](err)
	_, late := errors.AsType[*tunnel.TimeoutError](err)
	switch {
	case denied:
		if strings.HasPrefix(p.Target, "/") {
			p.Target = "unix/" + p.Target
		}
		step.Cause, step.Fix = remedy.CausePermitOpen, p.Fix(remedy.CausePermitOpen)
	case isOpen:
		step.Cause, step.Fix = failure.Cause(open.Reason.Word()), p.FixOpen(open.Reason)
	case late:
		step.Cause, step.Fix = failure.Cause(failure.OpenTimedOut.Word()), p.FixOpen(failure.OpenTimedOut)
	default:
		step.Cause = failure.CauseOf(err)
		step.Fix = p.Fix(step.Cause)
	}
}

// certificateStep is about the certificate that let us in. Where it permits no
// forwarding, and the bastion forbids that, this is why.
func certificateStep(l *hostLogin, c connect.UsedCertificate, forwarding *Step) *Step {
	step := &Step{Step: stepCertificate, OK: true}
	expires := "never expires"
	if c.Expires != nil {
		expires = fmt.Sprintf("expires %s, in %s", c.Expires.UTC().Format(time.RFC3339), printable.Duration(time.Until(*c.Expires)))
	}
	step.Detail = fmt.Sprintf("%q %s", c.KeyID, expires)
	switch {
	case c.PermitsForwarding:
		step.Detail += ", permits forwarding"
	case isForbidden(forwarding):
		p := l.patient()
		step.OK, step.Cause, step.Fix = false, remedy.CauseCertificate, p.Fix(remedy.CauseCertificate)
		step.Error = fmt.Sprintf("certificate %q lacks the extension permit-port-forwarding", c.KeyID)
		*forwarding = Step{Step: stepForwarding, NotReached: true}
	default:
		step.Detail += ", lacks permit-port-forwarding, which this bastion ignores"
	}
	return step
}
