// Package doctor logs in to the bastions of a configuration, and finds out what is wrong: how
// far it gets, which targets the bastion reaches, the cause of what fails, and the fix. It
// does so with the product's own connects, so that it meets what these meet. It asks nobody
// anything, learns no host key and repairs nothing. The commands import it.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/configfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remedy"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// Doctor examines tunnels, one after the other.
type Doctor struct {
	ctx     context.Context
	config  *configfile.Config
	targets []need.Target // instead of the configuration's

	examined map[string][]*hostLogin // the hosts of a hop, by its key
	handles  []*tunnel.Handle        // to close
}

// hostLogin is a login at a host.
type hostLogin struct {
	report *HopReport
	t      *config.Resolved
	cfg    tunnel.Config
	handle *tunnel.Handle // nil if it has failed
	used   []connect.UsedCertificate
}

// New returns a doctor of the tunnels of a configuration. targets are dialed instead of the
// configuration's own, if there are any. It works until ctx ends; Close it afterwards.
func New(ctx context.Context, config *configfile.Config, targets []need.Target) *Doctor {
	return &Doctor{ctx: ctx, config: config, targets: targets, examined: map[string][]*hostLogin{}}
}

// Close closes the connections, the last first: it goes through those before it.
func (d *Doctor) Close() {
	for _, h := range slices.Backward(d.handles) {
		h.Close()
	}
}

// Examine checks a tunnel and what it goes through. A hop that fails ends the chain behind
// it. A hop that several tunnels go through is examined once.
func (d *Doctor) Examine(name string) *TunnelReport {
	report := &TunnelReport{Tunnel: name, OK: true}
	defer func() {
		for _, h := range report.Hops {
			report.OK = report.OK && h.OK
		}
	}()
	t, warnings, err := d.config.ResolveWarned(name)
	if err != nil {
		report.Hops = []*HopReport{misconfigured(name, err, warnings)}
		return report
	}
	var via *tunnel.Handle
	for i, hop := range t.Chain() {
		if i > 0 && via == nil {
			for _, address := range hop.Config.Addresses() {
				report.Hops = append(report.Hops, notReached(hop, address))
			}
			continue
		}
		logins := d.examineHop(hop, via)
		via = nil
		for _, l := range logins {
			shown := *l.report // it may be shown of another tunnel, too
			shown.Steps = slices.Clone(shown.Steps)
			report.Hops = append(report.Hops, &shown)
			if hop == t {
				shown.warnOfFiles(warnings)
			}
			if l.handle == nil {
				continue
			}
			if via == nil {
				via = l.handle
			}
			if hop == t {
				d.examineChannels(l, &shown)
			}
		}
	}
	return report
}

// warnOfFiles adds the warnings of ssh_config files to the first step: what is ignored there
// may be why a later one fails.
func (h *HopReport) warnOfFiles(warnings []string) {
	first := *h.Steps[0]
	for _, warning := range warnings {
		if strings.HasPrefix(warning, "ssh_config: ") {
			first.Warnings = append(slices.Clip(first.Warnings), warning)
		}
	}
	h.Steps[0] = &first
}

// ConnectTo logs in on the way to a tunnel's bastion, and returns the last hop before it,
// or nil if there is none. Close closes it.
func (d *Doctor) ConnectTo(t *config.Resolved) (via *tunnel.Handle, err error) {
	chain := t.Chain()
	for _, hop := range chain[:len(chain)-1] {
		logins := d.examineHop(hop, via)
		i := slices.IndexFunc(logins, func(l *hostLogin) bool { return l.handle != nil })
		if i < 0 {
			return nil, fmt.Errorf("%s is not reached: %s; see caddy ssh-tunnel check %s", hop.Config.Name, logins[0].report.trouble(), t.Config.Name)
		}
		via = logins[i].handle
	}
	return via, nil
}

// misconfigured reports a tunnel that cannot be loaded, and what Caddy warns of before.
func misconfigured(name string, err error, warnings []string) *HopReport {
	cause := failure.CauseOf(err)
	if cause == failure.CauseOther {
		cause = failure.CauseConfiguration
	}
	step := &Step{Step: stepConfiguration, Cause: cause, Error: err.Error(), Fix: remedy.Facts{Tunnel: name}.Fix(cause), Warnings: warnings}
	if cause == failure.CauseHostKeyUnknown {
		step.Fix = fmt.Sprintf("caddy ssh-tunnel keyscan --tunnel %s prints host_key lines; compare one with the bastion's, and add it to the tunnel", name)
	}
	h := &HopReport{Hop: name, OK: true}
	h.add(step)
	return h
}

// notReached reports a host behind a hop that has failed.
func notReached(t *config.Resolved, address string) *HopReport {
	h := &HopReport{Hop: t.Config.Name, Host: address}
	for _, step := range loginSteps {
		h.add(&Step{Step: step, NotReached: true})
	}
	return h
}

// examineHop logs in to each host of a hop, unless that was done before.
func (d *Doctor) examineHop(t *config.Resolved, via *tunnel.Handle) []*hostLogin {
	viaKey := ""
	if via != nil {
		viaKey = via.Key()
	}
	key := t.Config.Key(viaKey)
	if _, ok := d.examined[key]; !ok {
		for _, cfg := range t.Config.EachHost() {
			d.examined[key] = append(d.examined[key], d.logIn(t, cfg, via))
		}
	}
	return d.examined[key]
}

// Settings are a tunnel's own, for one connection that is not replaced, logs nothing and
// tries no second time.
func Settings(t *config.Resolved) tunnel.Settings {
	set := t.Settings
	set.Logger, set.Observer = nil, nil
	set.MinConnections, set.MaxConnections = 1, 1
	set.ReconnectMin, set.ReconnectMax = time.Hour, time.Hour
	set.DrainTimeout, set.Linger = -1, -1
	set.Lazy = false
	return set
}

// logIn logs in to one host, and reports how far that got.
func (d *Doctor) logIn(t *config.Resolved, cfg tunnel.Config, via *tunnel.Handle) *hostLogin {
	set := Settings(t)
	var memory *readOnlyMemory
	if set.KeyMemory != nil {
		memory = &readOnlyMemory{Memory: set.KeyMemory}
		set.KeyMemory = memory
	}
	h := tunnel.Open(cfg, set, via)
	d.handles = append(d.handles, h)
	// Its own limit is connect_timeout for each of the host keys that it may ask for.
	ctx, cancel := context.WithTimeoutCause(d.ctx, 5*set.WithDefaults().ConnectTimeout, errors.New("it takes too long"))
	defer cancel()
	start := time.Now()
	h.Start()
	err := h.Connect(ctx)
	elapsed := time.Since(start)

	l := &hostLogin{report: &HopReport{Hop: cfg.Name, Host: cfg.Address, OK: true}, t: t, cfg: cfg}
	attempt := &connect.Attempt{}
	if status := h.Status(); len(status.Attempts) > 0 {
		attempt = status.Attempts[0]
	}
	if err == nil {
		l.handle, l.used = h, attempt.Certificates
	} else {
		h.Close()
	}
	for _, s := range attempt.Steps {
		elapsed -= s.Took.Duration()
	}
	for _, s := range loginSteps {
		step := &Step{Step: s}
		at := slices.IndexFunc(attempt.Steps, func(done connect.Step) bool { return done.Name == s })
		switch {
		case err == nil || at >= 0 && s != attempt.Failed:
			step.OK, step.Detail = true, l.detail(s, attempt, via, memory)
			if at >= 0 {
				step.Took = attempt.Steps[at].Took
			}
		case s == cmp.Or(attempt.Failed, connect.StepReach):
			step.Took = connect.Seconds(max(0, elapsed.Seconds())) // what the steps before it have left
			l.diagnose(step, err, memory)
			if refused, ok := errors.AsType[*failure.AuthError](err); ok && refused.Authorize != nil {
				step.Fix = fmt.Sprintf("add this line to the authorized_keys of %q on the bastion: %s; or run caddy ssh-tunnel public-key %s --install",
					cfg.User, d.config.AuthorizedLine(t, refused.Authorize, attempt.Server), t.Config.Name)
			}
		default:
			step.NotReached = true
		}
		if s == connect.StepHostKey {
			step.Warnings = cfg.HostKeyWarnings()
		}
		l.report.add(step)
	}
	return l
}

// detail is what there is to say of a step that has succeeded.
func (l *hostLogin) detail(step string, a *connect.Attempt, via *tunnel.Handle, memory *readOnlyMemory) string {
	switch step {
	case connect.StepReach:
		switch {
		case via != nil:
			return "through " + via.Status().Tunnel
		case l.cfg.Proxy != nil:
			return "through " + l.cfg.Proxy.String()
		case len(l.cfg.ProxyCommand) > 0:
			return "through proxy_command " + l.cfg.ProxyCommandName()
		}
		return a.Remote
	case connect.StepBanner:
		return a.Server
	case connect.StepKeyExchange:
		if a.Algorithms == nil {
			return ""
		}
		quantum := "not post-quantum"
		if a.Algorithms.PostQuantum {
			quantum = "post-quantum"
		}
		if !a.Algorithms.StrictKex {
			quantum += ", not strict"
		}
		return fmt.Sprintf("%s (%s), %s", a.Algorithms.KeyExchange, quantum, a.Algorithms.Cipher)
	case connect.StepHostKey:
		switch {
		case memory != nil && memory.isNew():
			return a.HostKey + ", which is new; a running Caddy would learn it (accept-new)"
		case a.HostKeySource == "":
			return a.HostKey
		}
		return a.HostKey + ", known by " + a.HostKeySource
	default:
		return "as " + a.User + ": " + a.Authentication
	}
}

// diagnose says why a login has failed, and what to do.
func (l *hostLogin) diagnose(step *Step, err error, memory *readOnlyMemory) {
	if down, ok := errors.AsType[*tunnel.DownError](err); ok {
		err = down.Cause
	}
	step.Cause, step.Error = failure.CauseOf(err), err.Error()
	p := l.patient()
	if h, ok := errors.AsType[*failure.HostKeyError](err); ok && h.Key != nil {
		p.Fingerprint, p.Keygen = h.Offered, hostkey.KeygenCommand(h.Key)
	}
	step.Fix = p.Fix(step.Cause)
	if none, ok := errors.AsType[*algorithms.NegotiationError](err); ok {
		step.Fix = none.Fix
	}
	if other, ok := errors.AsType[*failure.NotSSHError](err); ok {
		step.Fix = other.Fix
	}
	if refused, ok := errors.AsType[*failure.AuthError](err); ok && refused.Fix != "" {
		step.Fix = refused.Fix
	}
	open, isOpen := errors.AsType[*failure.OpenError](err)
	switch {
	case step.Cause == failure.CauseJump && isOpen: // by the hop before
		p.Target = l.cfg.Address
		step.Fix = p.FixOpen(open.Reason)
	case step.Cause == failure.CauseHostKeyMismatch && memory != nil && memory.forget() != "":
		step.Fix = p.Fill("find out why: this can be an attack; only if {keygen} on the bastion prints {fingerprint}, forget the old key: ") + memory.forget()
	case strings.HasPrefix(l.cfg.Name, "ssh_config ") && p.Fingerprint != "":
		step.Fix = p.Fill("if {keygen} on the bastion prints {fingerprint}, replace what known_hosts has for {name} by the line that caddy ssh-tunnel keyscan prints for it")
	}
}

// patient is what there is to know about the host.
func (l *hostLogin) patient() remedy.Facts {
	p := remedy.Facts{Tunnel: l.cfg.Name, Host: l.cfg.Address, User: l.cfg.User, Generated: l.cfg.Auth().GeneratedName() != ""}
	for _, f := range l.cfg.IdentityFiles {
		if !f.Default {
			p.Identity = strings.TrimSuffix(f.Path, ".pub") + ".pub"
			break
		}
	}
	return p
}
