package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/doctor"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/terminal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

const keyscanHelp = `Prints the host keys of a server: for each type of key a line for a known_hosts file
and, in the comment below it, the host_key to paste into a tunnel.

  caddy ssh-tunnel keyscan bastion.example.com:2222

Nothing has verified these keys: whoever answers at that address has shown them.
Before you paste one, compare its fingerprint with what this prints on the server
itself, or with what its administrator or cloud console says:

  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

It logs in only to the servers on the way. --tunnel goes as that tunnel of the
configuration does, by its proxy_jump, ssh_config, proxy or proxy_command. -J goes as
for caddy ssh-tunnel forward, and so do -i, -l, --no-key, --password and
--known-hosts. If the server shows a certificate, the plain key in it is printed.

The exit status is 0 if all servers have answered, and 1 otherwise.`

// keyscanFlags is what the command line says.
type keyscanFlags struct {
	config configFlags
	tunnel string
	jumps  forwardFlags // to log in to the servers on the way with
	json   bool
}

func newKeyscanCommand() *cobra.Command {
	var flags keyscanFlags
	cmd := &cobra.Command{
		Use:   "keyscan [flags] <host>[:<port>]... | --tunnel <name>",
		Short: "Print the host keys of SSH servers, to compare and paste",
		Long:  keyscanHelp,
		Example: `  caddy ssh-tunnel keyscan bastion.example.com
  caddy ssh-tunnel keyscan -J deploy@jump.example.com db.internal
  caddy ssh-tunnel keyscan --tunnel prod --config /etc/caddy/Caddyfile`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              interruptible(flags.run),
	}
	f := cmd.Flags()
	flags.config.add(cmd, f, "the `file` of the configuration (default: Caddyfile in this directory)")
	f.StringVar(&flags.tunnel, "tunnel", "", "`name` of a tunnel of the configuration, whose bastion is scanned in the way that it is reached")
	_ = cmd.RegisterFlagCompletionFunc("tunnel", flags.config.complete)
	f.StringVarP(&flags.jumps.jumps, "jump", "J", "", "SSH `servers` to go through, in this order, each [user@]host[:port], with commas between them")
	f.StringArrayVarP(&flags.jumps.identityFiles, "identity", "i", nil, "`file` of a private key, for the servers on the way. Repeats")
	f.StringVarP(&flags.jumps.user, "login", "l", "", "`user` to log in to the servers on the way as, where none is written (default: the user that runs this)")
	f.StringVarP(&flags.jumps.port, "port", "p", "", "`port` of the servers to scan, where none is written (default: 22)")
	f.BoolVar(&flags.jumps.noKey, "no-key", false, "offer no key to the servers on the way")
	f.BoolVar(&flags.jumps.password, "password", false, "ask for the passwords of the servers on the way where keys do not do")
	f.StringVar(&flags.jumps.knownHosts, "known-hosts", "", "`file` of known host keys of the servers on the way, instead of ~/.ssh/known_hosts and the system's")
	f.StringVarP(&flags.jumps.file, "ssh-config", "F", "", "`file` of ssh_config(5) to read instead of the user's and the system's, or none")
	f.BoolVar(&flags.json, "json", false, "print one JSON document")
	return cmd
}

// scannedHost is what a server has shown, as it is printed.
type scannedHost struct {
	Host   string       `json:"host"`
	OK     bool         `json:"ok"`
	Server string       `json:"server,omitempty"`
	Keys   []scannedKey `json:"keys"`
	// Unread are algorithms for keys that are not supported, or did not come.
	Unread []string      `json:"unread,omitempty"`
	Cause  failure.Cause `json:"cause,omitempty"`
	Error  string        `json:"error,omitempty"`
}

type scannedKey struct {
	Type string `json:"type"`
	// KnownHosts is the line of a known_hosts file, HostKey the option's argument,
	// and Compare the command that prints that on the server.
	KnownHosts string `json:"known_hosts"`
	HostKey    string `json:"host_key"`
	Compare    string `json:"compare"`
}

// run scans the servers, or a tunnel's.
func (flags *keyscanFlags) run(ctx context.Context, out io.Writer, args []string) error {
	var scans []keyscan
	var closeAll func() // the connections on the way
	var err error
	switch {
	case flags.tunnel != "" && len(args) > 0:
		return errors.New("--tunnel scans the bastion of a tunnel; leave out the hosts, or --tunnel")
	case flags.tunnel != "" && flags.jumps.jumps != "":
		return errors.New("--tunnel goes the way that the configuration says; leave out -J, or --tunnel")
	case flags.tunnel != "":
		scans, closeAll, err = flags.ofTunnel(ctx)
	case len(args) == 0:
		return errors.New("nothing to scan; write a <host>[:<port>], or --tunnel <name>")
	default:
		scans, closeAll, err = flags.ofHosts(ctx, args)
	}
	if err != nil {
		return err
	}
	defer closeAll()

	var all []scannedHost
	failed := false
	for _, s := range scans {
		host := s.run(ctx)
		if ctx.Err() != nil {
			return terminal.ErrInterrupted
		}
		failed = failed || !host.OK
		all = append(all, host)
		if !flags.json {
			host.print(out)
		}
	}
	if flags.json {
		if err := printJSON(out, map[string]any{"ok": !failed, "hosts": all}); err != nil {
			return err
		}
	} else if slices.ContainsFunc(all, func(h scannedHost) bool { return h.OK }) {
		_, _ = fmt.Fprint(out, scanAdvice)
	}
	if failed {
		return errNotWell
	}
	return nil
}

const scanAdvice = `# Nothing has verified these keys. Compare a fingerprint with what the command
# beside it prints on the server before you trust it.
`

// keyscan is a server to scan, and the way to it.
type keyscan struct {
	cfg     tunnel.Config
	via     *tunnel.Handle
	timeout time.Duration
}

// dialThrough returns how to dial through a tunnel, if there is one.
func dialThrough(via *tunnel.Handle) connect.Dial {
	if via == nil {
		return nil
	}
	return via.DialStream
}

func (s keyscan) run(ctx context.Context) scannedHost {
	h := scannedHost{Host: s.cfg.Address, Keys: []scannedKey{}}
	scanned, err := connect.Scan(ctx, s.cfg, dialThrough(s.via), s.timeout)
	if err != nil {
		h.Cause, h.Error = failure.CauseOf(err), err.Error()
		return h
	}
	h.OK, h.Server, h.Unread = true, scanned.Server, scanned.Unread
	name := hostkey.KnownName(s.cfg.Address, s.cfg.HostKeyAlias)
	for _, key := range scanned.Keys {
		h.Keys = append(h.Keys, scannedKey{
			Type: key.Type(), KnownHosts: name + " " + keystorage.AuthorizedKey(key),
			HostKey: ssh.FingerprintSHA256(key), Compare: hostkey.KeygenCommand(key),
		})
	}
	return h
}

// print prints lines of a known_hosts file.
func (h scannedHost) print(w io.Writer) {
	if !h.OK {
		_, _ = fmt.Fprintf(w, "# %s: %s\n", h.Host, h.Error)
		return
	}
	_, _ = fmt.Fprintf(w, "# %s %s\n", h.Host, h.Server)
	for _, k := range h.Keys {
		_, _ = fmt.Fprintf(w, "%s\n#   host_key %s   (%s)\n", k.KnownHosts, k.HostKey, k.Compare)
	}
	if len(h.Unread) > 0 {
		_, _ = fmt.Fprintf(w, "# not shown: not supported, or no key came: %s\n", strings.Join(h.Unread, ", "))
	}
}

// ofHosts returns the servers that are named, behind the jumps, and what closes the
// connections to these, each of which is made once.
func (flags *keyscanFlags) ofHosts(ctx context.Context, args []string) (scans []keyscan, closeAll func(), err error) {
	out := newOutput(os.Stderr, &flags.jumps)
	login := newLogin(&flags.jumps, out)
	defer login.close()
	var opened []*tunnel.Handle
	defer func() {
		if err != nil {
			closeHandles(opened)
		}
	}()
	known := map[string]*tunnel.Handle{} // by all servers on the way
	for _, arg := range args {
		hops, err := flags.hopsTo(arg, out)
		if err != nil {
			return nil, nil, err
		}
		last := len(hops) - 1
		var via *tunnel.Handle
		key := ""
		for _, hop := range hops[:last] {
			key = hop.cfg.Key(key)
			if known[key] == nil {
				h, err := login.connect(ctx, hop, via)
				if err != nil {
					return nil, nil, err
				}
				known[key] = h
				opened = append(opened, h)
			}
			via = known[key]
		}
		scans = append(scans, keyscan{hops[last].cfg, via, hops[last].settings.WithDefaults().ConnectTimeout})
	}
	return scans, func() { closeHandles(opened) }, nil
}

// hopsTo returns a server and those on the way. -p is about the first, and -l about
// the others.
func (flags *keyscanFlags) hopsTo(arg string, out *output) ([]hop, error) {
	d, err := hostport.ParseDestination(arg)
	if err == nil && d.Port == "" {
		d.Port, err = flags.jumps.portFlag()
	}
	if err != nil {
		return nil, err
	}
	way := flags.jumps
	way.jumps = withUser(way.jumps, way.user)
	return way.resolve(d, out)
}

// withUser returns jumps with a user in each that has none.
func withUser(jumps, user string) string {
	if user == "" || jumps == "" || strings.EqualFold(jumps, "none") {
		return jumps
	}
	all := strings.Split(jumps, ",")
	for i, jump := range all {
		if strings.Contains(jump, "@") {
			continue
		}
		if host, isURL := strings.CutPrefix(jump, "ssh://"); isURL {
			all[i] = "ssh://" + url.PathEscape(user) + "@" + host
		} else {
			all[i] = user + "@" + jump
		}
	}
	return strings.Join(all, ",")
}

// ofTunnel returns the hosts of a tunnel, in the way that it is reached, and what closes
// the connections on that way.
func (flags *keyscanFlags) ofTunnel(ctx context.Context) (scans []keyscan, closeAll func(), err error) {
	loaded, err := flags.config.load()
	if err != nil {
		return nil, nil, err
	}
	if _, err := loaded.Select([]string{flags.tunnel}); err != nil {
		return nil, nil, err
	}
	t, err := loaded.ResolveChanged(flags.tunnel, func(app *config.App) {
		if t := app.Tunnels[flags.tunnel]; t != nil { // JSON may have a null
			t.StrictHostKeyChecking = "accept-new" // it need not be known to be scanned
		}
	})
	if err != nil {
		return nil, nil, err
	}
	d := doctor.New(ctx, loaded, nil)
	via, err := d.ConnectTo(t)
	if err != nil {
		d.Close()
		return nil, nil, err
	}
	for _, cfg := range t.Config.EachHost() {
		scans = append(scans, keyscan{cfg, via, t.Settings.WithDefaults().ConnectTimeout})
	}
	return scans, d.Close, nil
}
