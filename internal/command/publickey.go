package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/autokey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/configfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

const publicKeyHelp = `Prints the line for authorized_keys on the bastion: the public key that a tunnel logs in
with, restricted to what the configuration needs.

  caddy ssh-tunnel public-key prod --config /etc/caddy/Caddyfile

The key is that of identity auto, which is generated if there is none yet, or those of
the identity files. The targets are those that caddy ssh-tunnel check dials, and the
addresses are those where Caddy listens on the bastion. What the line permits beyond that,
and why, is said on standard error. Print the line again after you change a target.

--install adds the line to ~/.ssh/authorized_keys on the bastion, and then checks the
tunnel. It logs in with the keys of the user that runs it, as ssh does, or asks for the
password. It changes nothing if the line is there already.

--rotate generates another key for identity auto. Caddy offers it before the old one.
After the first login with it, Caddy deletes the old one. Add --install, or add the line
on the bastion.

Run it as the user that Caddy runs as, with the same environment. Otherwise the storage,
the home directory and the placeholders differ.`

// publicKeyFlags is what the command line says.
type publicKeyFlags struct {
	config                                  configFlags
	unrestricted, dropbear, install, rotate bool
}

func newPublicKeyCommand() *cobra.Command {
	var flags publicKeyFlags
	cmd := &cobra.Command{
		Use:   "public-key [flags] [<tunnel>]",
		Short: "Print the authorized_keys line of a tunnel's key, or install it",
		Long:  publicKeyHelp,
		Example: `  caddy ssh-tunnel public-key
  caddy ssh-tunnel public-key prod --config /etc/caddy/Caddyfile
  caddy ssh-tunnel public-key prod --install
  caddy ssh-tunnel public-key prod --rotate --install`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: flags.config.complete,
		RunE:              interruptible(flags.run),
	}
	f := cmd.Flags()
	flags.config.add(cmd, f, "the `file` of the configuration (default: Caddyfile in this directory)")
	f.BoolVar(&flags.unrestricted, "unrestricted", false, "print the key without options, which permits everything that the user may do")
	f.BoolVar(&flags.dropbear, "dropbear", false, "print the line for Dropbear, which ignores that for OpenSSH; --install finds out which server it is")
	f.BoolVar(&flags.install, "install", false, "add the line on the bastion, logging in with a password or a key of yours, and check the tunnel")
	f.BoolVar(&flags.rotate, "rotate", false, "generate another key for identity auto, which replaces the current one at the first login with it")
	return cmd
}

// run prints the lines of a tunnel, or installs them.
func (flags *publicKeyFlags) run(ctx context.Context, out io.Writer, typed []string) error {
	loaded, err := flags.config.load()
	if err != nil {
		return err
	}
	if len(typed) == 0 && len(loaded.Tunnels) > 1 {
		return fmt.Errorf("there are several tunnels; name one of %s", strings.Join(loaded.Tunnels, ", "))
	}
	names, err := loaded.Select(typed)
	if err != nil {
		return err
	}
	t, err := loaded.Resolve(names[0])
	if err != nil {
		return err
	}
	keys, err := publicKeys(ctx, loaded, t, flags.rotate)
	if err != nil {
		return err
	}
	var lines []keyLine
	for _, key := range keys {
		if flags.unrestricted {
			line := configfile.KeyLine(key, names[0])
			lines = append(lines, keyLine{openSSH: line, dropbear: line})
			continue
		}
		r := loaded.Restriction(t, key)
		line := newKeyLine(r, key, names[0])
		notes := r.Notes
		if flags.dropbear {
			notes = append(notes, line.beyond...)
		}
		for _, note := range notes {
			_, _ = fmt.Fprintf(os.Stderr, "# %s\n", note)
		}
		lines = append(lines, line)
	}
	if flags.install {
		return flags.installAll(ctx, out, loaded, t, lines)
	}
	for _, line := range lines {
		printed := line.openSSH
		if flags.dropbear {
			printed = line.dropbear
		}
		_, _ = fmt.Fprintln(out, printed)
	}
	return nil
}

// publicKeys returns the keys that a tunnel logs in with: those to be added to
// authorized_keys. rotate generates another one first.
func publicKeys(ctx context.Context, loaded *configfile.Config, t *config.Resolved, rotate bool) (keys []ssh.PublicKey, err error) {
	auth := t.Config.Auth()
	name := auth.GeneratedName()
	if rotate && name == "" {
		return nil, fmt.Errorf("tunnel %q: --rotate is for identity auto; replace the files of other identities, which Caddy notices", t.Config.Name)
	}
	if name != "" {
		key, err := generatedKey(ctx, loaded.GeneratedKeys(), name, rotate)
		if err != nil {
			return nil, fmt.Errorf("tunnel %q: %w", t.Config.Name, err)
		}
		keys = append(keys, key)
	}
	others, err := auth.PublicKeys()
	written := len(auth.Identities) > 0 || slices.ContainsFunc(auth.IdentityFiles, func(f tunnel.IdentityFile) bool { return !f.Default })
	switch keys = append(keys, others...); {
	case written && err != nil:
		return nil, fmt.Errorf("tunnel %q: %w", t.Config.Name, err)
	case len(keys) == 0:
		return nil, errors.Join(fmt.Errorf("tunnel %q has no key of its own; add identity auto, or an identity_file (ssh-add -L prints the keys of an agent)", t.Config.Name), err)
	case !written: // those of ~/.ssh, of which one is enough
		keys = keys[:1]
	}
	return keys, nil
}

// generatedKey returns the key of identity auto to authorize: the one that is to replace the
// current one, if there is one. rotate generates that, unless there is no key at all yet.
func generatedKey(ctx context.Context, storage autokey.Storage, name string, rotate bool) (ssh.PublicKey, error) {
	keys, err := storage.Load(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		keys, err = storage.LoadOrCreate(ctx, name)
	case err == nil && rotate:
		keys, err = storage.Rotate(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	return cmp.Or(keys.Next, keys.Current).PublicKey(), nil
}
