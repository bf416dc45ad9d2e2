package command

// keyscan.go contains `caddy ssh-tunnel keyscan`: the host keys of
// servers, to paste.

import (
	"cmp"
	"context"
	"encoding/json"
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
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

const keyscanHelp = `  caddy ssh-tunnel keyscan bastion.example.com:2222

prints the host keys that a server shows, each as a line for a known_hosts file
and, in the comment below it, as a host_key to paste into a tunnel.

Nothing has verified these keys: whoever answers at that address has shown them.
Before you paste one, compare its fingerprint with what this prints on the server
itself, or what its administrator or cloud console says:

  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub

It logs in nowhere, except to the servers on the way: with -J as caddy ssh-tunnel
forward does, whose other flags are about these; with --tunnel as the
configuration's tunnel does, by its proxy_jump, ssh_config, proxy or proxy_command.
If the server shows a certificate, the plain key in it is printed.

The exit status is 0 if all servers have answered, and otherwise 1.`

// keyscanFlags is what the command line says.
type keyscanFlags struct {
	config configFlags
	tunnel string
	jumps  forwardFlags // to log in to the servers on the way with
	json   bool
}

// scanTimeout is how long each connection may take, where no tunnel says.
const scanTimeout = 10 * time.Second

func newKeyscanCommand() *cobra.Command {
	var flags keyscanFlags
	cmd := &cobra.Command{
		Use:   "keyscan [flags] <host>[:<port>]... | --tunnel <name>",
		Short: "Prints the host keys of SSH servers, to compare and paste",
		Long:  keyscanHelp,
		Example: `  caddy ssh-tunnel keyscan bastion.example.com
  caddy ssh-tunnel keyscan -J deploy@jump.example.com db.internal
  caddy ssh-tunnel keyscan --tunnel prod --config /etc/caddy/Caddyfile`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilInterrupted()
			defer stop()
			return flags.run(ctx, cmd.OutOrStdout(), args)
		},
	}
	flags.config.add(cmd)
	f := cmd.Flags()
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
	// Unread are algorithms for keys that are not supported.
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
	var end func()
	var err error
	switch {
	case flags.tunnel != "" && len(args) > 0:
		return errors.New("--tunnel scans the bastion of a tunnel; leave out the hosts, or --tunnel")
	case flags.tunnel != "" && flags.jumps.jumps != "":
		return errors.New("--tunnel goes the way that the configuration says; leave out -J, or --tunnel")
	case flags.tunnel != "":
		scans, end, err = flags.ofTunnel(ctx)
	case len(args) == 0:
		return errors.New("nothing to scan; write a <host>[:<port>], or --tunnel <name>")
	default:
		scans, end, err = flags.ofHosts(ctx, args)
	}
	if err != nil {
		return err
	}
	defer end()

	var all []scannedHost
	failed := false
	for _, s := range scans {
		host := s.run(ctx)
		if ctx.Err() != nil {
			return errInterrupted
		}
		failed = failed || !host.OK
		all = append(all, host)
		if !flags.json {
			host.print(out)
		}
	}
	if flags.json {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(map[string]any{"ok": !failed, "hosts": all}); err != nil {
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
	name    string // as known_hosts files have it
}

func (s keyscan) run(ctx context.Context) scannedHost {
	h := scannedHost{Host: s.cfg.Address, Keys: []scannedKey{}}
	var dial connect.Dial
	if s.via != nil {
		dial = s.via.DialStream
	}
	scanned, err := connect.Scan(ctx, s.cfg, dial, s.timeout)
	if err != nil {
		h.Cause, h.Error = failure.CauseOf(err), err.Error()
		return h
	}
	h.OK, h.Server, h.Unread = true, scanned.Server, scanned.Unread
	for _, key := range scanned.Keys {
		h.Keys = append(h.Keys, scannedKey{
			Type: key.Type(), KnownHosts: s.name + " " + keystorage.AuthorizedKey(key),
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
		_, _ = fmt.Fprintf(w, "# not shown, since they are not supported: %s\n", strings.Join(h.Unread, ", "))
	}
}

// ofHosts returns the servers that are named, behind the jumps. end closes the
// connections to these.
func (flags *keyscanFlags) ofHosts(ctx context.Context, args []string) (scans []keyscan, end func(), err error) {
	way := &scanWay{flags: &flags.jumps, output: newOutput(os.Stderr, &flags.jumps), handles: map[string]*tunnel.Handle{}}
	defer way.end()
	for _, arg := range args {
		s, err := way.to(ctx, arg)
		if err != nil {
			closeHandles(way.opened)
			return nil, nil, err
		}
		scans = append(scans, s)
	}
	return scans, func() { closeHandles(way.opened) }, nil
}

// scanWay are the connections to the servers on the way, each of which is made
// once.
type scanWay struct {
	flags   *forwardFlags
	output  *output
	login   *login                    // nil before it is needed
	handles map[string]*tunnel.Handle // by all servers on the way
	opened  []*tunnel.Handle          // the same, in order
}

func (w *scanWay) end() {
	if w.login != nil {
		w.login.close()
	}
}

// to returns the scan of a server, behind those on the way.
func (w *scanWay) to(ctx context.Context, arg string) (keyscan, error) {
	d, err := hostport.ParseDestination(arg)
	if err == nil && d.Port == "" {
		d.Port, err = w.flags.portFlag()
	}
	if err != nil {
		return keyscan{}, err
	}
	hops, err := w.flags.withJumpUser().resolve(d, w.output)
	if err != nil {
		return keyscan{}, err
	}
	last := len(hops) - 1
	var via *tunnel.Handle
	key := ""
	for _, hop := range hops[:last] {
		key = hop.cfg.Key(key)
		h := w.handles[key]
		if h == nil {
			if w.login == nil {
				w.login = newLogin(w.flags, w.output)
			}
			if h, err = w.login.connect(ctx, hop, via); err != nil {
				return keyscan{}, err
			}
			w.handles[key] = h
			w.opened = append(w.opened, h)
		}
		via = h
	}
	cfg := hops[last].cfg
	timeout := cmp.Or(hops[last].settings.ConnectTimeout, scanTimeout)
	return keyscan{cfg: cfg, via: via, timeout: timeout, name: hostkey.KnownName(cfg.Address, cfg.HostKeyAlias)}, nil
}

// withJumpUser returns the flags with -l in each jump that has no user.
func (flags *forwardFlags) withJumpUser() *forwardFlags {
	changed := *flags
	if flags.user == "" || flags.jumps == "" || strings.EqualFold(flags.jumps, "none") {
		return &changed
	}
	jumps := strings.Split(flags.jumps, ",")
	for i, jump := range jumps {
		if !strings.Contains(jump, "@") {
			rest, isURL := strings.CutPrefix(jump, "ssh://")
			if jumps[i] = flags.user + "@" + rest; isURL {
				jumps[i] = "ssh://" + url.PathEscape(flags.user) + "@" + rest
			}
		}
	}
	changed.jumps = strings.Join(jumps, ",")
	return &changed
}

// closeHandles closes them, the last hop first: its connection goes through those
// before it.
func closeHandles(handles []*tunnel.Handle) {
	for _, h := range slices.Backward(handles) {
		h.Close()
	}
}

// ofTunnel returns the hosts of a tunnel, in the way that it is reached.
func (flags *keyscanFlags) ofTunnel(ctx context.Context) (scans []keyscan, end func(), err error) {
	loaded, err := flags.config.load()
	if err != nil {
		return nil, nil, err
	}
	if _, err := loaded.names([]string{flags.tunnel}); err != nil {
		return nil, nil, err
	}
	t, err := loaded.resolveOne(func(app *config.App) {
		if t := app.Tunnels[flags.tunnel]; t != nil { // JSON may have a null
			t.StrictHostKeyChecking = "accept-new" // it need not be known to be scanned
		}
	}, flags.tunnel)
	if err != nil {
		return nil, nil, err
	}
	d := newDoctor(ctx, loaded, nil)
	end = d.close
	chain := t.Chain()
	var via *tunnel.Handle
	for _, hop := range chain[:len(chain)-1] {
		logins := d.examineHop(hop, via)
		i := slices.IndexFunc(logins, func(l *hostLogin) bool { return l.handle != nil })
		if i < 0 {
			end()
			return nil, nil, fmt.Errorf("%s is not reached: %s; see caddy ssh-tunnel check %s", hop.Config.Name, logins[0].report.trouble(), flags.tunnel)
		}
		via = logins[i].handle
	}
	for _, address := range t.Config.Addresses() {
		cfg := t.Config
		cfg.Address, cfg.Fallbacks = address, nil
		scans = append(scans, keyscan{cfg, via, connectTimeout(t.Settings), hostkey.KnownName(address, cfg.HostKeyAlias)})
	}
	return scans, end, nil
}
