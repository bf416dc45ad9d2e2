package command

// init_ask.go asks the questions of init, and finds out what need not be asked.

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/terminal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/transport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// The values of --key that are no paths.
const (
	keyExisting = "existing"
	keyAuto     = "auto"
)

// say prints a line for people.
func (r *initRun) say(format string, args ...any) { r.login.output.line(format, args...) }

// ask asks a question, which a flag answers as well.
func (r *initRun) ask(ctx context.Context, flag, question string) (string, error) {
	if r.login.terminal == nil {
		return "", fmt.Errorf("%s: there is no terminal to ask on; add the flag", flag)
	}
	answer, err := r.login.terminal.Ask(ctx, question)
	return strings.TrimSpace(answer), err
}

// confirm asks a question that is answered by yes or no.
func (r *initRun) confirm(ctx context.Context, flag, question string) (bool, error) {
	if r.flags.yes {
		return true, nil
	}
	for {
		answer, err := r.ask(ctx, flag, question)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(answer) {
		case "yes":
			return true, nil
		case "no":
			return false, nil
		}
		question = "Type yes or no: "
	}
}

// findHostKey shows the server's host keys and finds the one to expect: the one that
// known_hosts has, or that a person accepts.
func (r *initRun) findHostKey(ctx context.Context) error {
	scanned, err := connect.Scan(ctx, r.cfg, dialThrough(r.via()), initTimeout)
	if err != nil {
		if ctx.Err() != nil {
			return terminal.ErrInterrupted
		}
		return err
	}
	r.server = scanned.Server
	slices.SortStableFunc(scanned.Keys, func(a, b ssh.PublicKey) int { return hostKeyRank(a) - hostKeyRank(b) })
	r.say("the host keys of %s (%s):", r.cfg.Address, scanned.Server)
	var mismatch error // unless another key of the server is known
	for _, key := range scanned.Keys {
		shown := shownKey{Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key), Compare: hostkey.KeygenCommand(key)}
		shown.KnownBy, err = r.knownBy(ctx, key)
		refused, _ := errors.AsType[*failure.HostKeyError](err)
		switch {
		case refused != nil && refused.Cause == failure.CauseHostKeyMismatch:
			mismatch = err
		case err != nil:
			return err
		}
		r.report.HostKeys = append(r.report.HostKeys, shown)
		known := ""
		if shown.KnownBy != "" {
			known = ", known by " + shown.KnownBy
		}
		r.say("  %s %s%s   (%s)", shown.Type, shown.Fingerprint, known, shown.Compare)
	}
	if len(r.report.HostKeys) == 0 {
		return fmt.Errorf("%s has no host key of a type that is supported: %s", r.cfg.Address, strings.Join(scanned.Unread, ", "))
	}
	fingerprint, err := r.chooseHostKey(ctx, mismatch)
	if err != nil {
		return err
	}
	r.report.HostKey = fingerprint
	r.cfg.HostKeys = []string{fingerprint}
	return nil
}

// hostKeyRank puts the type that most servers have first.
func hostKeyRank(key ssh.PublicKey) int {
	return max(0, slices.Index([]string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSA}, key.Type()))
}

// knownBy returns which line of the user's known_hosts has a key, or "". That another key
// is known is an error.
func (r *initRun) knownBy(ctx context.Context, key ssh.PublicKey) (string, error) {
	verifier, err := hostkey.Load(ctx, &hostkey.Config{Address: r.cfg.Address, KnownHosts: r.knownHosts, HostKeyAlias: r.cfg.HostKeyAlias}, zap.NewNop())
	if err != nil {
		return "", err
	}
	err = verifier.Callback(ctx)(r.cfg.Address, nil, key)
	refused, _ := errors.AsType[*failure.HostKeyError](err)
	switch {
	case err == nil:
		return verifier.Source(key), nil
	case refused != nil && refused.Cause == failure.CauseHostKeyUnknown:
		return "", nil
	}
	return "", err
}

// chooseHostKey returns the fingerprint of the host key to expect. mismatch is not nil if
// known_hosts has another.
func (r *initRun) chooseHostKey(ctx context.Context, mismatch error) (string, error) {
	shown := r.report.HostKeys
	has := func(fingerprint string) bool {
		return slices.ContainsFunc(shown, func(k shownKey) bool { return k.Fingerprint == fingerprint })
	}
	if wanted := r.flags.hostKey; wanted != "" {
		if !has(wanted) {
			return "", fmt.Errorf("--host-key: the server has no host key with the fingerprint %s; find out why before you trust another", wanted)
		}
		return wanted, nil
	}
	if i := slices.IndexFunc(shown, func(k shownKey) bool { return k.KnownBy != "" }); i >= 0 {
		return shown[i].Fingerprint, nil
	}
	if mismatch != nil {
		return "", mismatch
	}
	if r.flags.yes {
		return shown[0].Fingerprint, nil
	}
	r.say("nothing has verified them: on the server, run the command beside one, and compare")
	question := "Are they the server's? (yes, no, or the fingerprint that one should have) "
	for {
		switch answer, err := r.ask(ctx, "--host-key", question); {
		case err != nil:
			return "", err
		case strings.EqualFold(answer, "yes"):
			return shown[0].Fingerprint, nil
		case has(answer):
			return answer, nil
		case strings.EqualFold(answer, "no"), answer == "", strings.HasPrefix(answer, "SHA256:"):
			return "", errors.New("the host keys were not accepted")
		}
		question = "Type yes, no or the fingerprint: "
	}
}

// findKey finds out what the tunnel is to log in with.
func (r *initRun) findKey(ctx context.Context) error {
	switch r.flags.key {
	case "", keyExisting:
	case keyAuto:
		r.report.Key.Source = keyAuto
		return nil
	default:
		path, err := filepath.Abs(r.flags.key)
		r.report.Key.Source, r.report.Key.Path = "file", path
		return err
	}
	h, err := r.login.attempt(ctx, r.cfg, tunnel.Settings{ConnectTimeout: initTimeout}, r.via())
	if err == nil {
		r.report.accepted = true
		r.existingKey(&r.cfg, h.Status().Attempts[0].Authentication)
		h.Close()
	}
	_, refused := errors.AsType[*failure.AuthError](err)
	switch {
	case ctx.Err() != nil:
		return terminal.ErrInterrupted
	case err != nil && !refused:
		return err
	case refused && r.flags.key == keyExisting:
		return fmt.Errorf("--key: the server accepts no key of yours; write --key <path> or --key auto: %w", err)
	case refused:
		r.say("the server accepts no key of yours")
	case r.flags.key == keyExisting:
		return nil
	default:
		yes, err := r.confirm(ctx, "--key", fmt.Sprintf("The server accepts you: %s. Is Caddy to log in with that? (yes, or no for a key of its own) ", r.report.Key.used))
		if err != nil || yes {
			return err
		}
	}
	r.report.Key = initKey{Source: keyAuto}
	return nil
}

// existingKey notes the key that let us in.
func (r *initRun) existingKey(cfg *tunnel.Config, authentication string) {
	r.report.Key.Source, r.report.Key.used = keyExisting, authentication
	auth := cfg.Auth()
	for _, f := range cfg.IdentityFiles {
		auth.IdentityFiles = []tunnel.IdentityFile{f}
		keys, _ := auth.PublicKeys()
		if len(keys) > 0 && strings.Contains(authentication, ssh.FingerprintSHA256(keys[0])) {
			r.report.Key.Fingerprint = ssh.FingerprintSHA256(keys[0])
			if !strings.Contains(authentication, "agent") {
				r.report.Key.Path = f.Path
			}
		}
	}
}

// askUpstream asks what the site is to reach.
func (r *initRun) askUpstream(ctx context.Context) (string, error) {
	question := "Which host and port is the site to reach, as the server sees it, such as web.internal:80? "
	for upstream := r.flags.upstream; ; {
		if upstream == "" {
			var err error
			if upstream, err = r.ask(ctx, "--upstream", question); err != nil {
				return "", err
			}
		}
		err := checkUpstream(upstream)
		if err == nil {
			return upstream, nil
		}
		upstream, question = "", fmt.Sprintf("%q: %v. Which host and port? ", upstream, err)
	}
}

// checkUpstream refuses what is not one upstream, or would be something else in a
// Caddyfile.
func checkUpstream(upstream string) error {
	if strings.ContainsAny(upstream, "{} \t\"'`\\") {
		return errors.New("it has placeholders or quotes, or is several; write one host:port or unix//path")
	}
	_, err := transport.UpstreamTarget(upstream)
	return err
}

// tunnelName makes a name for a tunnel of a host.
func tunnelName(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return "bastion"
	}
	label, _, _ := strings.Cut(host, ".")
	return label
}
