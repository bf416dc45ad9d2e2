package sshtunnel

// command_keyscan.go contains `caddy ssh-tunnel keyscan`: the host keys of
// servers, to paste.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

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
	Unread []string     `json:"unread,omitempty"`
	Cause  tunnel.Cause `json:"cause,omitempty"`
	Error  string       `json:"error,omitempty"`
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
	scanned, err := tunnel.Scan(ctx, s.cfg, s.via, s.timeout)
	if err != nil {
		h.Cause, h.Error = tunnel.CauseOf(err), err.Error()
		return h
	}
	h.OK, h.Server, h.Unread = true, scanned.Server, scanned.Unread
	for _, key := range scanned.Keys {
		h.Keys = append(h.Keys, scannedKey{
			Type: key.Type(), KnownHosts: s.name + " " + authorizedKey(key),
			HostKey: ssh.FingerprintSHA256(key), Compare: tunnel.KeygenCommand(key),
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
	for _, arg := range args {
		cfg, err := flags.jumps.scanned(arg)
		if err != nil {
			return nil, nil, err
		}
		scans = append(scans, keyscan{cfg: cfg, timeout: scanTimeout, name: tunnel.KnownName(cfg.Address, "")})
	}
	var handles []*tunnel.Handle
	end = func() { closeHandles(handles) }
	if flags.jumps.jumps == "" {
		return scans, end, nil
	}
	login := newLogin(&flags.jumps, newOutput(os.Stderr, &flags.jumps))
	defer login.close()
	for jump := range strings.SplitSeq(flags.jumps.jumps, ",") {
		user := flags.jumps.user
		if strings.Contains(jump, "@") {
			user = ""
		}
		hop, err := flags.jumps.hop("jump", jump, user, "")
		if err == nil {
			var via, h *tunnel.Handle
			if n := len(handles); n > 0 {
				via = handles[n-1]
			}
			if h, err = login.connect(ctx, hop, via); err == nil {
				handles = append(handles, h)
			}
		}
		if err != nil {
			end()
			return nil, nil, err
		}
	}
	for i := range scans {
		scans[i].via = handles[len(handles)-1]
	}
	return scans, end, nil
}

// closeHandles closes them, the last hop first: its connection goes through those
// before it.
func closeHandles(handles []*tunnel.Handle) {
	for _, h := range slices.Backward(handles) {
		h.Close()
	}
}

// scanned reads a server that is to be scanned.
func (flags *forwardFlags) scanned(s string) (tunnel.Config, error) {
	d, err := parseDestination(s)
	if err != nil {
		return tunnel.Config{}, err
	}
	if d.port == "" {
		d.port = "22"
		if flags.port != "" {
			if d.port, err = parsePort(flags.port); err != nil {
				return tunnel.Config{}, fmt.Errorf("-p: %w", err)
			}
		}
	}
	return tunnel.Config{Name: d.host, Address: net.JoinHostPort(d.host, d.port), User: d.user}, nil
}

// ofTunnel returns the hosts of a tunnel, in the way that it is reached.
func (flags *keyscanFlags) ofTunnel(ctx context.Context) (scans []keyscan, end func(), err error) {
	config, err := flags.config.load()
	if err != nil {
		return nil, nil, err
	}
	if _, err := config.names([]string{flags.tunnel}); err != nil {
		return nil, nil, err
	}
	app, err := config.provision(func(app *App) {
		if t := app.Tunnels[flags.tunnel]; t != nil { // JSON may have a null
			t.StrictHostKeyChecking = "accept-new" // it need not be known to be scanned
		}
	}, flags.tunnel)
	if err != nil {
		return nil, nil, err
	}
	d := newDoctor(ctx, config, nil)
	end = func() {
		d.close()
		_ = app.Cleanup()
	}
	t := app.Tunnels[flags.tunnel]
	chain := app.chain(t)
	var via *tunnel.Handle
	for _, hop := range chain[:len(chain)-1] {
		logins := d.examineHop(hop, via)
		i := slices.IndexFunc(logins, func(l *hostLogin) bool { return l.handle != nil })
		if i < 0 {
			end()
			return nil, nil, fmt.Errorf("%s is not reached: %s; see caddy ssh-tunnel check %s", hop.config.Name, logins[0].report.trouble(), flags.tunnel)
		}
		via = logins[i].handle
	}
	for _, address := range t.config.Addresses() {
		cfg := t.config
		cfg.Address, cfg.Fallbacks = address, nil
		scans = append(scans, keyscan{cfg, via, connectTimeout(t.settings), tunnel.KnownName(address, cfg.HostKeyAlias)})
	}
	return scans, end, nil
}
