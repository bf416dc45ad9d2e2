package command

// login.go connects to an SSH server as a person at a terminal does:
// with questions about its host key and for passwords.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/terminal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// passwordTries is how often a password is asked for, as by ssh.
const passwordTries = 3

// login connects to servers, and asks what is not known.
type login struct {
	terminal *terminal.Terminal // nil if there is none
	output   *output
	password bool // whether passwords may be asked for
	// passwordFlag is what an error about the password names.
	passwordFlag string
	typed        string // the password that was asked for last

	passphrases map[string]string // by path
}

func newLogin(flags *forwardFlags, out *output) *login {
	return &login{terminal: terminal.Open(), output: out, password: flags.password, passwordFlag: "--password", passphrases: map[string]string{}}
}

func (l *login) close() { l.terminal.Close() }

// connect connects to one server through the tunnel via, if that is not nil.
func (l *login) connect(ctx context.Context, hop hop, via *tunnel.Handle) (h *tunnel.Handle, err error) {
	err = l.until(ctx, hop, func(cfg tunnel.Config) (err error) {
		h, err = l.attempt(ctx, cfg, hop.settings, via)
		return err
	})
	return h, err
}

// until logs in to one server by attempt, until that succeeds or there is nothing more to
// ask for.
//
// Nobody is asked anything while a connection waits: it fails for what is not
// known, that is asked, and it is made again. So a person may take all the time
// they want, whatever the server's and our limits are.
func (l *login) until(ctx context.Context, hop hop, attempt func(cfg tunnel.Config) error) error {
	cfg := hop.cfg
	if hop.BatchMode {
		l = &login{output: l.output} // BatchMode
	}
	if err := l.unlock(ctx, &cfg); err != nil {
		return err
	}
	tries := 0
	if cfg.Password != "" && cfg.Password == l.typed {
		tries = 1 // the caller has asked for it
	}
	for {
		err := attempt(cfg)
		if err == nil {
			return nil
		}
		hostKey, _ := errors.AsType[*failure.HostKeyError](err)
		_, refused := errors.AsType[*failure.AuthError](err)
		switch {
		case ctx.Err() != nil:
			return terminal.ErrInterrupted
		case hostKey != nil && hostKey.Cause == failure.CauseHostKeyUnknown && hostKey.Key != nil:
			if err := l.acceptHostKey(ctx, hop, hostKey); err != nil {
				return err
			}
			// Not only in the file: that may not be writable.
			cfg.HostKeys = append(cfg.HostKeys, keystorage.AuthorizedKey(hostKey.Key))
		case refused && l.password && tries < l.maxTries():
			if tries++; tries > 1 {
				l.output.line("the password was not accepted")
			}
			if err := l.askPassword(ctx, &cfg); err != nil {
				return err
			}
		case refused:
			return inFlags(err)
		default:
			return err
		}
	}
}

// inFlags says which flags stand for the options that an error names.
func inFlags(err error) error {
	for _, option := range []string{"identity_file", "add password"} {
		if strings.Contains(err.Error(), option) {
			return fmt.Errorf("%w (on the command line identity_file is -i, and password is --password)", err)
		}
	}
	return err
}

// attempt connects once.
func (l *login) attempt(ctx context.Context, cfg tunnel.Config, set tunnel.Settings, via *tunnel.Handle) (*tunnel.Handle, error) {
	warnings, err := cfg.Check()
	for _, warning := range warnings {
		l.output.logger.Debug(warning)
	}
	hostKey, _ := errors.AsType[*failure.HostKeyError](err)
	unknown := hostKey != nil && hostKey.Cause == failure.CauseHostKeyUnknown // connecting shows the key
	if err != nil && !unknown {
		return nil, err
	}
	h := tunnel.Open(cfg, set, via)
	h.Start()
	if err := h.Connect(ctx); err != nil {
		h.Close()
		if down, ok := errors.AsType[*tunnel.DownError](err); ok {
			err = down.Cause
		}
		return nil, err
	}
	return h, nil
}

// unlock asks for the passphrases of the identity files that were named. With
// an agent it does not: that holds their keys.
func (l *login) unlock(ctx context.Context, cfg *tunnel.Config) error {
	if os.Getenv("SSH_AUTH_SOCK") != "" {
		return nil
	}
	for i := range cfg.IdentityFiles {
		f := &cfg.IdentityFiles[i]
		data, err := os.ReadFile(f.Path)
		if f.Default || err != nil {
			continue // what is wrong with it, Check tells
		}
		if keyfile.Encrypted(data) {
			if l.terminal == nil && f.Optional {
				continue
			}
			if l.terminal == nil {
				return fmt.Errorf("-i %s is encrypted, and nobody can be asked for its passphrase: there is no terminal, or BatchMode is set; start an agent (eval $(ssh-agent)) and run ssh-add %s", f.Path, keyfile.Shell(f.Path))
			}
			if _, asked := l.passphrases[f.Path]; !asked {
				passphrase, err := l.terminal.Secret(ctx, fmt.Sprintf("passphrase of %s: ", f.Path))
				if err != nil {
					return err
				}
				l.passphrases[f.Path] = passphrase
			}
			f.Passphrase = l.passphrases[f.Path]
		}
	}
	return nil
}

// maxTries is how many passwords may be asked for. What is not a person types
// the same again.
func (l *login) maxTries() int {
	if terminal.IsStdin() {
		return passwordTries
	}
	return 1
}

// askPassword asks for the password of one server: on the terminal or, if
// standard input is not one, there.
func (l *login) askPassword(ctx context.Context, cfg *tunnel.Config) (err error) {
	if l.terminal != nil && terminal.IsStdin() {
		cfg.Password, err = l.terminal.Secret(ctx, fmt.Sprintf("password of %s at %s: ", cfg.User, cfg.Address))
	} else {
		cfg.Password, err = terminal.ReadLine(ctx, os.Stdin)
	}
	if err == nil && cfg.Password == "" {
		err = errors.New("the password is empty")
	}
	l.typed = cfg.Password
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s: %w", l.passwordFlag, err)
	}
	return err
}

// acceptHostKey accepts an unknown host key, as StrictHostKeyChecking has it or
// after asking, and adds it to known_hosts.
func (l *login) acceptHostKey(ctx context.Context, hop hop, offered *failure.HostKeyError) error {
	key := offered.Key
	unknown := fmt.Sprintf("host key of %q is unknown: offered %s %s", hop.cfg.Address, key.Type(), ssh.FingerprintSHA256(key))
	if len(offered.Skipped) > 0 {
		unknown += " (" + strings.Join(offered.Skipped, "; ") + ")"
	}
	switch {
	case hop.StrictHostKeyChecking == "no", hop.StrictHostKeyChecking == "accept-new":
		l.remember(hop, key)
		return nil
	case hop.StrictHostKeyChecking == "yes":
		return fmt.Errorf("%s; StrictHostKeyChecking is yes: add the key to %s once you have compared it", unknown, hop.addTo())
	case l.terminal == nil:
		return fmt.Errorf("%s; there is no terminal to ask on: run this on one, or add the key to %s", unknown, hop.addTo())
	}
	for _, line := range offered.Skipped {
		l.output.line("%s", line)
	}
	if err := l.askHostKey(ctx, hop.cfg.Address, key); err != nil {
		return err
	}
	l.remember(hop, key)
	return nil
}

// remember adds a host key to known_hosts.
func (l *login) remember(hop hop, key ssh.PublicKey) {
	if err := appendKnownHost(hop.saveTo, hostkey.KnownName(hop.cfg.Address, hop.cfg.HostKeyAlias), key); err != nil {
		l.output.line("the host key could not be remembered: %v", err)
	} else if hop.saveTo != os.DevNull {
		l.output.line("added the host key of %s to %s", hop.cfg.Address, hop.saveTo)
	}
}

// askHostKey asks whether an unknown host key is to be accepted.
func (l *login) askHostKey(ctx context.Context, address string, key ssh.PublicKey) error {
	fingerprint := ssh.FingerprintSHA256(key)
	question := fmt.Sprintf("The host key of %s is not known: %s %s\nConnect, and remember it? (yes, no, or the fingerprint that it should have) ",
		address, key.Type(), fingerprint)
	for {
		answer, err := l.terminal.Ask(ctx, question)
		if err != nil {
			return err
		}
		switch strings.TrimSpace(answer) {
		case "yes", "Yes", "YES", fingerprint:
			return nil
		case "no", "No", "NO", "":
			return fmt.Errorf("host key of %q was not accepted: %s %s", address, key.Type(), fingerprint)
		}
		question = "Type yes, no or the fingerprint: "
	}
}

// appendKnownHost adds a line to a known_hosts file, which it makes if need be.
func appendKnownHost(path, name string, key ssh.PublicKey) (err error) {
	if path == "" {
		return errors.New("there is no known_hosts file, or no home directory")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	line := name + " " + keystorage.AuthorizedKey(key) + "\n"
	// The last line may have been left without an end.
	if info, err := f.Stat(); err != nil {
		return err
	} else if size := info.Size(); size > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line)
	return err
}
