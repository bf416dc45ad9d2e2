// explain.go says in one line why the bastion did not let us in.

package sshauth

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Explain returns the error of a failed handshake as a *failure.AuthError if the server has
// refused the login. It names what was offered, what was not and why, and the fix. The error
// of a lost connection, or of one that was given up, stays as it is; if it was given up while
// the agent was asked, it is wrapped in one that says so.
func (a *Authenticator) Explain(err error) error {
	if err == nil || !a.began {
		return err
	}
	switch {
	case a.link == nil:
	case a.link.hung.Load():
		return fmt.Errorf("waiting for the agent at %q: %w", a.link.path, err)
	case a.link.isClosed() && !a.exhausted:
		return err
	}
	if a.current != nil {
		a.settle(a.partial)
	}
	switch {
	case isConnError(err), errors.Is(err, failure.ErrPreAuthLimit):
		return err
	case strings.Contains(err.Error(), "ssh: disconnect, reason "): // its type is not exported
		if !a.wasRefused() {
			return err
		}
		cause, fix := failure.CauseKeyRefused, "name the right key with identity_file, so that no other is tried first"
		if !a.keysRefused() {
			cause, fix = failure.CausePasswordRefused, "check user and password"
		}
		return &failure.AuthError{Message: a.message("the bastion ended the connection", fix), Cause: cause}
	case !a.exhausted:
		return err
	case a.expired, strings.Contains(err.Error(), "unexpected message type 60 "):
		// SSH_MSG_USERAUTH_PASSWD_CHANGEREQ, RFC 4252 section 8.
		fix := fmt.Sprintf("log in as %s with ssh, which asks for a new password, and put that in the place of the old one", redact.Quote(a.cfg.User))
		return &failure.AuthError{Message: a.message("the password has expired", fix), Cause: failure.CausePasswordRefused, Fix: fix}
	default:
		return &failure.AuthError{Message: a.message("", a.fix()), Cause: a.cause(), Fix: cmp.Or(a.certificateFix(), a.generatedFix(), a.agentFix()), Authorize: a.refusedGenerated()}
	}
}

// Retryable reports whether a login that has failed may succeed although none of
// Config.Files changes: the server has refused nothing, but the agent had no key or a
// placeholder no value; or the process had too few files or too little memory to read a key.
func (a *Authenticator) Retryable() bool {
	if a.keys != nil && a.keys.scarce {
		return true
	}
	// A placeholder that stands for nothing may stand for something later.
	return (a.trouble != "" || a.keys != nil && a.keys.waits) && !a.wasRefused()
}

// wasRefused reports whether the bastion has refused a key or the password.
func (a *Authenticator) wasRefused() bool {
	return slices.ContainsFunc(a.attempts, (*attempt).refused)
}

// isConnError reports whether an error is the connection's, not the protocol's.
func isConnError(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// message puts together what was tried and what the bastion would take.
func (a *Authenticator) message(end, fix string) string {
	var accepted, refused, unfinished, skipped []string
	for _, t := range a.attempts {
		switch {
		case t.accepted:
			accepted = append(accepted, t.what)
		case t.err != nil && t.asked && t.method == methodDialogue:
			unfinished = append(unfinished, fmt.Sprintf("%s: %v", t.what, t.err))
		case t.err != nil:
			skipped = append(skipped, fmt.Sprintf("%s: %v", t.what, t.err))
		case !t.asked && t.method == methodDialogue: // there was nothing to refuse
		case !t.asked:
			skipped = append(skipped, t.what+": the bastion takes none of its signature algorithms")
		default:
			refused = append(refused, t.what+t.doubt)
		}
	}
	if a.keys != nil {
		skipped = append(skipped, a.keys.skipped...)
	}
	if a.trouble != "" {
		skipped = append(skipped, a.trouble)
	}

	parts := []string{fmt.Sprintf("authentication as %q failed", a.cfg.User)}
	for _, list := range []struct {
		title string
		texts []string
	}{{"accepted as a part", accepted}, {"refused", refused}, {"not finished", unfinished}, {"not offered", skipped}} {
		if len(list.texts) > 0 {
			parts = append(parts, list.title+": "+strings.Join(list.texts, ", "))
		}
	}
	if end != "" {
		parts = append(parts, end)
	}
	if takes := a.Printable(strings.Join(a.allowed, ", ")); takes != "" {
		parts = append(parts, "the bastion takes "+takes)
	}
	parts = append(parts, fix)
	if a.wantsSHA1() {
		parts = append(parts, "a bastion that takes RSA keys with SHA-1 alone, which is insecure, needs ssh-rsa in pubkey_accepted_algorithms")
	}
	return strings.Join(parts, "; ")
}

// wantsSHA1 reports whether the bastion may have wanted an RSA key to sign with
// SHA-1, as servers of before RFC 8332 do. It does not say so.
func (a *Authenticator) wantsSHA1() bool {
	return !slices.Contains(a.cfg.PubkeyOption().Names(), ssh.KeyAlgoRSA) &&
		slices.ContainsFunc(a.attempts, func(t *attempt) bool { return t.rsa && !t.accepted && t.err == nil })
}

// Printable returns a text of the server as a log or an error may show it: without the
// password, and without control characters.
func (a *Authenticator) Printable(text string) string {
	return printable.Text(printable.Conceal(text, a.secret))
}

// PrintableError returns an error whose text is Printable, and which wraps err.
func (a *Authenticator) PrintableError(err error) error { return printable.Error(err, a.secret) }

// keysRefused reports whether the bastion has refused a public key.
func (a *Authenticator) keysRefused() bool {
	return slices.ContainsFunc(a.attempts, func(t *attempt) bool {
		return t.method == methodPublicKey && t.refused()
	})
}

// cause says what, above all, has kept us out.
func (a *Authenticator) cause() failure.Cause {
	switch {
	case a.prompt != "":
		return failure.CauseSecondFactor
	case a.sent:
		return failure.CausePasswordRefused
	case a.keys != nil && a.keys.expired:
		return failure.CauseCertificateExpired
	case a.keysRefused():
		return failure.CauseKeyRefused
	default:
		return failure.CauseNoCredentials
	}
}

// certificateFix says what helps where a certificate was refused that cannot be used
// from here, or anywhere; else "".
func (a *Authenticator) certificateFix() string {
	for _, t := range a.attempts {
		if t.refused() && t.fix != "" {
			return t.fix
		}
	}
	return ""
}

// agentFix says what helps against what keeps the agent's keys from being used, where
// nothing else keeps us out; else "".
func (a *Authenticator) agentFix() string {
	if a.keys == nil || len(a.keys.skipped) > 1 || a.wasRefused() || a.cause() != failure.CauseNoCredentials {
		return ""
	}
	for _, t := range a.attempts {
		if t.err != nil && t.method == methodPublicKey && t.fix != "" {
			return t.fix
		}
	}
	return a.keys.agentFix
}

// leftOut returns the methods that the bastion takes and that are not to be tried.
func (a *Authenticator) leftOut() []string {
	return slices.DeleteFunc(slices.Clone(a.allowed), func(method string) bool {
		return !slices.Contains(methodOrder, method) || slices.Contains(a.cfg.methods(), method)
	})
}

// fix says what would help.
func (a *Authenticator) fix() string {
	takesKeys := slices.Contains(a.allowed, methodPublicKey)
	takesPassword := slices.Contains(a.allowed, methodPassword) || slices.Contains(a.allowed, methodDialogue)
	switch {
	case a.certificateFix() != "":
		return a.certificateFix()
	case a.prompt != "":
		return fmt.Sprintf("password answers one hidden prompt for a password, not %q: let this user in without a second factor, or with a key alone", a.prompt)
	case a.trouble != "":
		return "give password a value"
	case a.refusedGenerated() != nil:
		return a.authorizeFix(a.refusedGenerated())
	case a.generatedFix() != "":
		return a.generatedFix()
	case a.sent && (takesPassword || len(a.allowed) == 0):
		return "check user and password"
	case !a.wasRefused() && len(a.leftOut()) > 0:
		return "PreferredAuthentications of ssh_config leaves out " + strings.Join(a.leftOut(), ", ") + ": add what this login is to use"
	case takesPassword && !takesKeys && a.cfg.Password == "":
		return "add password"
	case takesPassword && !takesKeys:
		return "the bastion never asked for the password: allow publickey or password there"
	case a.keysRefused() && a.keys != nil && a.keys.expired:
		return "renew the certificate"
	case a.keysRefused() && a.keys != nil && a.keys.badCert:
		return fmt.Sprintf("correct the certificate that is not offered, or add the public key to the authorized_keys of %q on the bastion", a.cfg.User)
	case a.keysRefused():
		return fmt.Sprintf("add the public key to the authorized_keys of %q on the bastion, or name another with identity_file", a.cfg.User)
	case takesKeys && a.agentFix() != "" && takesPassword:
		return a.agentFix() + "; or add identity_file or password"
	case takesKeys && a.agentFix() != "":
		return a.agentFix() + "; or add identity_file"
	case takesKeys && takesPassword:
		return "add identity_file or password"
	case takesKeys && a.keys != nil && len(a.keys.skipped) > 0:
		return fmt.Sprintf("correct what keeps these keys from being offered, or add an identity_file that user %q can read", readfile.User())
	case takesKeys:
		return fmt.Sprintf("add an identity_file that user %q can read", readfile.User())
	default:
		return "allow publickey or password there"
	}
}
