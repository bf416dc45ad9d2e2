package command

// install.go adds a line to authorized_keys on a bastion, as ssh-copy-id does.

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/configfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/doctor"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// installScript reads a line of authorized_keys, and then the base64 of its key, and ends
// with a word that says what it has done. It is one line without !, so that every login shell passes
// it to sh.
const installScript = `exec sh -c 'cd || exit 1; umask 077; f=.ssh/authorized_keys; IFS= read -r line; IFS= read -r key; ` +
	`mkdir -p .ssh || exit 1; ` +
	`if grep -q -F -x -e "$line" $f 2>/dev/null; then echo unchanged; exit 0; fi; ` +
	`if grep -v "^[[:space:]]*#" $f 2>/dev/null | grep -q -F -e "$key"; then echo other; exit 0; fi; ` +
	`if [ -s $f ] && [ -n "$(tail -c 1 $f)" ]; then echo >>$f || exit 1; fi; ` +
	`printf "%s\n" "$line" >>$f || exit 1; ` +
	`if type restorecon >/dev/null 2>&1; then restorecon -F .ssh $f; fi; echo added'`

// errOtherLine is a key that authorized_keys has already.
var errOtherLine = errors.New("authorized_keys has this key already, with other options, and sshd takes those of the first line; replace that line by the one that public-key prints")

// installAll installs the lines on each of the tunnel's hosts, and checks the tunnel.
func (flags *publicKeyFlags) installAll(ctx context.Context, out io.Writer, loaded *configfile.Config, t *config.Resolved, lines []keyLine) error {
	d := doctor.New(ctx, loaded, nil)
	defer d.Close()
	via, err := d.ConnectTo(t)
	if err != nil {
		return err
	}
	login := newInstaller()
	defer login.close()
	for _, cfg := range t.Config.EachHost() {
		if err := login.install(ctx, asUser(cfg), t.Settings, via, lines); err != nil {
			return err
		}
	}
	check := &checkFlags{config: flags.config}
	if err := check.run(ctx, out, []string{t.Config.Name}); err != nil {
		return err
	}
	login.output.line("a running Caddy that was refused tries again within 10 minutes, or at once with: caddy ssh-tunnel reconnect %s", t.Config.Name)
	return nil
}

// newInstaller returns a login that asks for passwords, for --install.
func newInstaller() *login {
	flags := &forwardFlags{password: true}
	login := newLogin(flags, newOutput(os.Stderr, flags))
	login.passwordFlag = "--install"
	return login
}

// asUser returns a tunnel's configuration with what ssh would log in with for the user that
// runs this, instead of the tunnel's keys: those are not there yet. A password stays.
func asUser(cfg tunnel.Config) tunnel.Config {
	cfg.IdentityFiles, cfg.Identities, cfg.NoIdentityFiles = nil, nil, false
	cfg.CertificateFiles, cfg.Certificates = nil, nil
	cfg.IdentityAgent, cfg.IdentitiesOnly = "", false
	cfg.ApplyDefaults(config.HomeDir())
	return cfg
}

// keyLine is a line of authorized_keys.
type keyLine struct {
	openSSH, dropbear string
	// beyond says what the line for Dropbear permits beyond what is needed.
	beyond []string
}

// newKeyLine returns the line of a key that permits what r says.
func newKeyLine(r *need.Restriction, key ssh.PublicKey, tunnelName string) keyLine {
	line := configfile.KeyLine(key, tunnelName)
	options, beyond := r.DropbearOptions()
	return keyLine{r.Options() + " " + line, options + " " + line, beyond}
}

// forServer returns the line for the server with an identification string, and what it
// permits beyond what is needed.
func (l keyLine) forServer(server string) (line string, beyond []string) {
	if need.IsDropbear(server) {
		return l.dropbear, l.beyond
	}
	return l.openSSH, nil
}

// install adds lines on one host, in one login for each.
func (l *login) install(ctx context.Context, cfg tunnel.Config, set tunnel.Settings, via *tunnel.Handle, lines []keyLine) error {
	hop := hop{Host: &sshconfig.Host{StrictHostKeyChecking: "yes"}, cfg: cfg, settings: l.output.settings(set)}
	return l.until(ctx, hop, func(cfg tunnel.Config) error {
		warnings, err := cfg.Check()
		for _, warning := range warnings {
			l.output.logger.Debug(warning)
		}
		if err != nil {
			return err
		}
		for len(lines) > 0 {
			line, beyond := lines[0].forServer("")
			printed, err := tunnel.Run(ctx, cfg, hop.settings, via, installScript, func(server string) io.Reader {
				line, beyond = lines[0].forServer(server)
				return strings.NewReader(line + "\n" + keyBase64(line) + "\n")
			})
			if err := l.installed(cfg, printed, err, line); err != nil {
				return err
			}
			for _, text := range beyond {
				l.output.line("# %s", text)
			}
			lines = lines[1:]
		}
		return nil
	})
}

// installed says how a line was installed.
func (l *login) installed(cfg tunnel.Config, printed string, err error, line string) error {
	where := "~" + cfg.User + "/.ssh/authorized_keys at " + cfg.Address
	words := strings.Fields(printed)
	_, isConnect := errors.AsType[*failure.Error](err)
	exit, isExit := errors.AsType[*ssh.ExitError](err)
	var word string
	if len(words) > 0 {
		word = words[len(words)-1]
	}
	switch {
	case err == nil && word == "added":
		l.output.line("added the key to %s", where)
		return nil
	case err == nil && word == "unchanged":
		l.output.line("%s has the key already", where)
		return nil
	case err == nil && word == "other":
		return fmt.Errorf("%s: %w", where, errOtherLine)
	case isConnect:
		return err
	case isExit:
		err = fmt.Errorf("the command there ends with status %d", exit.ExitStatus())
	case err == nil:
		err = errors.New("the bastion runs something else for this user")
	}
	if said := printable.Text(printed); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return fmt.Errorf("%s: the key is not installed: %w; add this line there: %s", where, err, line)
}

// keyBase64 returns the base64 of a line's key. Any space may stand before it in another
// line.
func keyBase64(line string) string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)) //nolint:dogsled // there is no more of it
	if err != nil {
		return line
	}
	return base64.StdEncoding.EncodeToString(key.Marshal())
}
