package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/configfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/doctor"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/need"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/terminal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

const initHelp = `Sets up a tunnel to an SSH server, from nothing to a checked Caddyfile:

  caddy ssh-tunnel init deploy@bastion.example.com

The server is [user@]host[:port], ssh://[user@]host[:port] or a Host of ~/.ssh/config. If
ssh_config files say how to reach or log in to it, the tunnel follows them, by the option
ssh_config.

It shows the server's host keys and asks whether they are right, unless known_hosts has
one. It logs in with a key of yours, if the server accepts one, or generates a key in
Caddy's storage. It asks for the host and port that a site is to reach through the server.
It adds the key there, restricted to that, in one login with a password; or it prints the
line for authorized_keys. Then it checks the tunnel.

It prints a complete Caddyfile to standard output, and the rest to standard error: among
this, the block of sshd_config with which the server's administrator limits the account.

Each question has a flag. --yes answers yes to all of them: it trusts the host keys that
the server shows, as strict_host_key_checking accept-new does. Without a terminal, a
question without an answer is an error, and the password is the next line of standard
input. It writes no file but that of --output, and known_hosts if you accept the host key
of a ProxyJump, on a terminal; and a key only after a yes, --yes or --key auto.

Run it as the user that Caddy is to run as. Otherwise Caddy does not find the key.`

// initFlags is what the command line says.
type initFlags struct {
	config                                     configFlags
	name, hostKey, key, upstream, site, output string
	install, printKey, yes, json               bool
}

func newInitCommand() *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init [flags] [<user>@]<host>[:<port>]",
		Short: "Set up a tunnel: host key, login, check, and a complete Caddyfile",
		Long:  initHelp,
		Example: `  caddy ssh-tunnel init deploy@bastion.example.com
  caddy ssh-tunnel init deploy@bastion.example.com --output Caddyfile
  caddy ssh-tunnel init prod-bastion # a Host of ~/.ssh/config
  caddy ssh-tunnel init deploy@bastion.example.com --host-key SHA256:… --key auto --upstream web.internal:80 --install < password.txt`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("write one server, as in deploy@bastion.example.com")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              interruptible(flags.run),
	}
	f := cmd.Flags()
	flags.config.add(cmd, f, "the `file` of the configuration that names the storage for the key (default: Caddyfile in this directory, or else the default storage of the user that runs this)")
	f.StringVar(&flags.name, "name", "", "the `name` of the tunnel (default: the first label of the host)")
	f.StringVar(&flags.hostKey, "host-key", "", "the `fingerprint` that a host key must have, as in SHA256:…")
	f.StringVar(&flags.key, "key", "", "`which` key to log in with: existing for one of yours that the server accepts, auto for one that is generated in Caddy's storage, or the path of a private key")
	f.StringVar(&flags.upstream, "upstream", "", "the `host:port` or unix//path that the site reaches, as the server sees it")
	f.StringVar(&flags.site, "site", "http://localhost:8080", "the `address` of the site in the Caddyfile")
	f.BoolVar(&flags.install, "install", false, "add the key on the server, with a password")
	f.BoolVar(&flags.printKey, "print-key", false, "print the line for authorized_keys instead of adding it")
	f.BoolVarP(&flags.yes, "yes", "y", false, "answer yes to every question, that about the host keys included")
	f.StringVarP(&flags.output, "output", "o", "", "write the Caddyfile to this `file`, which must not exist")
	f.BoolVar(&flags.json, "json", false, "print one JSON document")
	return cmd
}

// initRun is a run of the command.
type initRun struct {
	flags  *initFlags
	loaded *configfile.Config
	login  *login
	destination
	cfg    tunnel.Config // where and as whom, with the host key once it is known
	server string        // its identification string
	report initReport
}

// initTimeout is how long each connect may take, as a tunnel's.
const initTimeout = 10 * time.Second

// run sets up a tunnel.
func (flags *initFlags) run(ctx context.Context, out io.Writer, args []string) error {
	r := &initRun{flags: flags, login: newInstaller()}
	defer r.login.close()
	defer r.closeJumps()
	if err := r.start(args[0]); err != nil {
		return err
	}
	if err := r.connectJumps(ctx); err != nil {
		return err
	}
	if err := r.findHostKey(ctx); err != nil {
		return err
	}
	if err := r.findKey(ctx); err != nil {
		return err
	}
	upstream, err := r.askUpstream(ctx)
	if err != nil {
		return err
	}
	r.report.Caddyfile = r.caddyfile(upstream)
	t, err := r.adapt()
	if err != nil {
		return err
	}
	if err := r.authorize(ctx, t); err != nil {
		return err
	}
	if r.report.Installed {
		d := doctor.New(ctx, r.loaded, nil)
		defer d.Close()
		r.report.Check = d.Examine(r.cfg.Name)
		r.report.OK = r.report.Check.OK
		if ctx.Err() != nil {
			return terminal.ErrInterrupted
		}
	}
	return r.finish(out)
}

// start reads the command line.
func (r *initRun) start(written string) error {
	flags := r.flags
	server, err := hostport.ParseDestination(written)
	switch {
	case err != nil:
		return fmt.Errorf("destination %w", err)
	case flags.install && flags.printKey:
		return errors.New("--install contradicts --print-key; keep one of them")
	}
	if err := flags.checkTexts(server.User); err != nil {
		return err
	}
	if flags.upstream != "" {
		if err := checkUpstream(flags.upstream); err != nil {
			return fmt.Errorf("--upstream %q: %w", flags.upstream, err)
		}
	}
	if flags.output != "" {
		if _, err := os.Lstat(flags.output); err == nil {
			return fmt.Errorf("--output: %q exists; name another file, or remove it", flags.output)
		}
	}
	if r.loaded, err = flags.config.read(); err != nil {
		return err
	}
	if r.destination, r.cfg, err = findDestination(server, r.login.output); err != nil {
		return err
	}
	if err := flags.checkTexts(r.cfg.User); err != nil {
		return err
	}
	if r.cfg.Name = flags.name; r.cfg.Name == "" {
		r.cfg.Name = tunnelName(server.Host)
	}
	r.report.Tunnel, r.report.Host, r.report.User = r.cfg.Name, r.cfg.Address, r.cfg.User
	return nil
}

// checkTexts refuses what would have another meaning in the Caddyfile, or in sshd_config,
// where a user is a list of patterns (match_pattern_list of OpenSSH). Values of several
// lines are refused for every command.
func (flags *initFlags) checkTexts(user string) error {
	for _, text := range []struct{ option, value, never string }{
		{"the user", user, "{}`\"'*?!,"},
		{"--site", flags.site, "{}`\"#"},
		{"--key", flags.key, "{}`"},
	} {
		if i := strings.IndexAny(text.value, text.never); i >= 0 {
			return fmt.Errorf("%s has a %q, which has another meaning in the files that init prints; write them by hand", text.option, text.value[i])
		}
	}
	return nil
}

// adapt makes the Caddyfile the configuration of the other commands, with the storage that
// was there.
func (r *initRun) adapt() (*config.Resolved, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(r.report.Caddyfile), nil)
	if err != nil {
		return nil, fmt.Errorf("the Caddyfile is not valid: %w; correct --site, --name or --upstream", err)
	}
	if err := r.loaded.Replace(adapted); err != nil {
		return nil, err
	}
	return r.loaded.Resolve(r.cfg.Name)
}

// authorize makes the server accept the tunnel's key.
func (r *initRun) authorize(ctx context.Context, t *config.Resolved) error {
	limits := new(need.Restriction)
	limits.Add(t, r.loaded.Uses(t))
	if !need.IsDropbear(r.server) {
		r.report.SSHDConfig = limits.SSHDConfig(r.cfg.User)
	}
	if r.report.Key.Source == keyExisting {
		r.report.Installed = true // where it is, somebody else has put it
		return nil
	}
	isNew, err := r.generate(ctx, t)
	if err != nil {
		return err
	}
	keys, err := publicKeys(ctx, r.loaded, t, false)
	if err != nil {
		return err
	}
	r.report.Key.Fingerprint = ssh.FingerprintSHA256(keys[0])
	line := newKeyLine(limits, keys[0], r.cfg.Name)
	var beyond []string
	r.report.Key.AuthorizedKey, beyond = line.forServer(r.server)
	if !isNew { // it may be there since the last time
		// A refusal counts against what is offered, and is not to delay the check: to the
		// connect limiter, a key alone is something else than what the tunnel offers.
		probe := t.Config
		probe.PreferredAuthentications = []string{"publickey"}
		h, err := r.login.attempt(ctx, probe, doctor.Settings(t), r.via())
		if err == nil {
			h.Close()
			r.report.Installed = true
			return nil
		}
		if _, refused := errors.AsType[*failure.AuthError](err); !refused {
			return err
		}
	}
	install := r.flags.install
	if !install && !r.flags.printKey {
		question := fmt.Sprintf("Add the key to ~%s/.ssh/authorized_keys on the server now, with your password there? (yes, or no to print the line) ", r.cfg.User)
		if install, err = r.confirm(ctx, "--install or --print-key", question); err != nil {
			return err
		}
	}
	if !install {
		for _, text := range beyond {
			r.say("# %s", text)
		}
		return nil
	}
	cfg := r.cfg
	if !r.report.accepted {
		// None of these keys is of use: only the password is left.
		cfg.IdentityFiles, cfg.NoIdentityFiles, cfg.IdentityAgent = nil, true, "none"
		cfg.PreferredAuthentications = nil
		if err := r.login.askPassword(ctx, &cfg); err != nil {
			return err
		}
	}
	if err := r.login.install(ctx, cfg, t.Settings, r.via(), []keyLine{line}); err != nil {
		return err
	}
	r.report.Installed = true
	return nil
}

// generate generates the key of identity auto, if that is wanted and there is none yet. A
// person agrees first.
func (r *initRun) generate(ctx context.Context, t *config.Resolved) (isNew bool, err error) {
	name := t.Config.Auth().GeneratedName()
	if name == "" {
		return false, nil
	}
	storage := r.loaded.GeneratedKeys()
	if _, err := storage.Load(ctx, name); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	if r.flags.key != keyAuto {
		question := fmt.Sprintf("Generate a key for the tunnel %s in Caddy's storage (%v)? (yes or no) ", name, storage.Storage)
		switch yes, err := r.confirm(ctx, "--key", question); {
		case err != nil:
			return false, err
		case !yes:
			return false, errNotGenerated
		}
	}
	_, err = storage.LoadOrCreate(ctx, name)
	return true, err
}

// errNotGenerated ends the command without a key.
var errNotGenerated = errors.New("there is no key to log in with; name one with --key <path>")
