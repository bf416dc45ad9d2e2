package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/listen"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
)

const forwardHelp = `Forwards ports and Unix sockets through an SSH server, as ssh -N -L does. It
reconnects, and reports its connections on stderr. It needs no configuration and no
running Caddy. Ctrl-C ends it.

  caddy ssh-tunnel forward 8008:web:80 user@sshserver

makes http://localhost:8008 lead to port 80 of the host web, as the SSH server sees it.

Write any number of forwards, as after ssh's -L, and the destination last:

  [bind:]port:host:hostport            a port here leads to a port there
  [bind:]port:/remote/socket           a port here leads to a Unix socket there
  /local/socket:host:hostport          a Unix socket here leads to a port there
  /local/socket:/remote/socket

Write IPv6 addresses in brackets. Without a bind address only this machine can
connect; an empty one, or *, means all addresses. With -R the SSH server listens, and
connections go to a target here. -D is a SOCKS5 proxy here, and -R with a port alone
is one there.

The destination is [user@]host[:port], ssh://[user@]host[:port] or a Host of
~/.ssh/config. That file and /etc/ssh/ssh_config count as they do for ssh: keys,
ProxyJump and more. Their LocalForward, RemoteForward and DynamicForward are opened as
well, unless ClearAllForwardings is set. -F names another file, or none.

Keys are those of the agent and of ~/.ssh, as for ssh. Host keys are looked up in
known_hosts. On a terminal you are asked about an unknown one, and yes adds it to
known_hosts. Without a terminal it is refused.

Flags of ssh and autossh that mean nothing here, such as -N, -T, -C and -M, are
ignored. -4, -6, -b, -c, -m, -g and -P mean what they do for ssh.

If the command cannot start, it prints one line and exits with status 1: if it cannot
listen, or if the SSH server cannot be reached or refuses the login. It reconnects
if the connection is lost later. After Ctrl-C, SIGTERM or SIGHUP the exit status is 0.`

// forwardFlags is what the command line says.
type forwardFlags struct {
	local, remote, dynamic []string
	identityFiles          []string
	user, port, jumps      string
	knownHosts             string
	file                   string
	options                []string // as behind ssh's -o
	ssh                    sshFlags
	noKey, password        bool
	quiet, verbose         bool
}

func newForwardCommand() *cobra.Command { return new(forwardFlags).command() }

// command returns the command that these are the flags of.
func (flags *forwardFlags) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "forward [flags] [<forward>...] <destination>",
		Short: "Forward ports through an SSH server, as ssh -L, -R and -D do",
		Long:  forwardHelp,
		Example: `  caddy ssh-tunnel forward 8008:web:80 user@sshserver
  caddy ssh-tunnel forward 5432:/run/postgresql/.s.PGSQL.5432 db.example.com
  caddy ssh-tunnel forward -R 9000:localhost:3000 -J jump.example.com user@sshserver:2222
  caddy ssh-tunnel forward -D 1080 user@sshserver
  caddy ssh-tunnel forward prod-bastion # the forwards of this Host of ~/.ssh/config`,
		Args: func(_ *cobra.Command, args []string) error {
			if err := flags.ssh.refuse(); err != nil || len(args) > 0 {
				return err
			}
			return errors.New("no destination; write it last, as in 8008:web:80 user@sshserver")
		},
		RunE: interruptible(flags.run),
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.local, "local", "L", nil, "`forward` a port or socket here to one there; the same as before the destination. Repeats")
	f.StringArrayVarP(&flags.remote, "remote", "R", nil, "`forward` a port or socket there to one here. Repeats")
	f.StringArrayVarP(&flags.dynamic, "dynamic", "D", nil, "`[bind:]port` here to be a SOCKS5 proxy. Repeats")
	f.StringArrayVarP(&flags.identityFiles, "identity", "i", nil, "`file` of a private key, offered before the agent's and instead of those in ~/.ssh. Repeats")
	f.StringVarP(&flags.user, "login", "l", "", "`user` to log in as (default: what ~/.ssh/config says, or the user that runs this)")
	f.StringVarP(&flags.port, "port", "p", "", "`port` of the SSH server (default: what ~/.ssh/config says, or 22)")
	f.StringVarP(&flags.jumps, "jump", "J", "", "SSH `servers` to go through, in this order, each [user@]host[:port], with commas between them")
	f.BoolVar(&flags.noKey, "no-key", false, "offer no key")
	f.BoolVar(&flags.password, "password", false, "ask for a password on the terminal where keys do not do; if standard input is not a terminal, its next line is taken")
	f.StringVar(&flags.knownHosts, "known-hosts", "", "`file` of known host keys, instead of ~/.ssh/known_hosts and the system's")
	f.StringVarP(&flags.file, "ssh-config", "F", "", "`file` of ssh_config(5) to read instead of the user's and the system's, or none")
	flags.ssh.add(f)
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "print nothing but errors that end it")
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "print what the tunnel does")
	return cmd
}

// run forwards until a signal ends it.
func (flags *forwardFlags) run(ctx context.Context, _ io.Writer, args []string) error {
	out := newOutput(os.Stderr, flags)
	hops, specs, err := flags.plan(args, out)
	if err != nil {
		return err
	}
	if flags.ssh.monitor != "" {
		out.line("-M is ignored: this notices by itself that the connection is lost, and connects again")
	}
	run := &forwardRun{output: out, hops: hops}
	defer run.close()
	// What fails without the bastion, fails before anybody is asked anything.
	if err := run.listen(specs, hops[len(hops)-1].Forwards); err != nil {
		return err
	}
	login := newLogin(flags, run.output)
	defer login.close()
	if err := run.connect(ctx, login); err != nil {
		return err
	}
	if err := run.listenRemote(ctx, specs); err != nil {
		return err
	}
	run.serve()
	<-ctx.Done()
	return nil
}

// plan finds out where to go and what to forward.
func (flags *forwardFlags) plan(args []string, out *output) (hops []hop, specs []hostport.Forward, err error) {
	if flags.options, err = flags.ssh.options(); err != nil {
		return nil, nil, err
	}
	if err := refuseCommand(args); err != nil {
		return nil, nil, err
	}
	if specs, err = flags.specs(args[:len(args)-1]); err != nil {
		return nil, nil, err
	}
	if hops, err = flags.hops(args[len(args)-1], out); err != nil {
		return nil, nil, err
	}
	if specs, err = allForwards(specs, hops[len(hops)-1].Forwards); err != nil {
		return nil, nil, err
	}
	if len(specs) == 0 {
		return nil, nil, errors.New("nothing to forward; write it before the destination, as in 8008:web:80 user@sshserver")
	}
	return hops, specs, nil
}

// refuseCommand refuses a command behind the destination, as ssh takes one.
func refuseCommand(args []string) error {
	for i, arg := range args[:len(args)-1] {
		// A forward has a colon, and one that is not finished is a port.
		isDestination := strings.Trim(arg, "0123456789") != "" && !strings.Contains(arg, ":") || strings.Contains(arg, "@") || strings.HasPrefix(arg, "ssh://")
		if _, err := hostport.ParseDestination(arg); err == nil && isDestination {
			return fmt.Errorf("destination %q is not the last argument, and no command is run there; leave out what follows it, or write it last: %s", arg, strings.Join(args[:i+1], " "))
		}
	}
	return nil
}

// specs reads the forwards: those before the destination, then the flags'.
func (flags *forwardFlags) specs(positional []string) ([]hostport.Forward, error) {
	var specs []hostport.Forward
	for _, group := range []struct {
		kind  hostport.ForwardKind
		texts []string
	}{
		{hostport.Local, positional},
		{hostport.Local, flags.local},
		{hostport.Remote, flags.remote},
		{hostport.Dynamic, flags.dynamic},
	} {
		for _, text := range group.texts {
			spec, err := hostport.ParseForward(group.kind, text)
			if err != nil {
				return nil, err
			}
			specs = append(specs, spec)
		}
	}
	return specs, nil
}

// allForwards adds the forwards of an ssh_config to those of the command line. As
// for ssh, one that is there twice is one; two that listen at the same place are an
// error, since the bastion or this machine would refuse the second.
func allForwards(specs []hostport.Forward, configured sshconfig.Forwards) ([]hostport.Forward, error) {
	for _, f := range configured.List {
		spec, err := hostport.ParseForward(hostport.ForwardKind(f.Kind), f.Spec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Where, err)
		}
		specs = append(specs, spec)
	}
	var all []hostport.Forward
	for _, spec := range specs {
		same := slices.IndexFunc(all, func(other hostport.Forward) bool {
			return (other.Kind == hostport.Remote) == (spec.Kind == hostport.Remote) && other.Listen == spec.Listen
		})
		switch {
		case same < 0:
			all = append(all, spec)
		case all[same].Kind != spec.Kind || all[same].Target != spec.Target:
			return nil, fmt.Errorf("-%c %q and -%c %q listen at the same place; remove one, or change its port", all[same].Kind, all[same].Text, spec.Kind, spec.Text)
		}
	}
	for i, spec := range all {
		if configured.GatewayPorts && spec.Kind != hostport.Remote && spec.NoBind {
			all[i].Listen.Host = ""
		}
	}
	return all, nil
}

// listenLocal listens on a port or socket of this machine. Where no bind
// address is written that is both addresses of "localhost", if there are two:
// browsers try either first.
func listenLocal(spec hostport.Forward, configured sshconfig.Forwards) ([]net.Listener, error) {
	var hosts []string
	switch {
	case spec.Listen.Path != "":
		// As sshd and ssh do: what a socket leads to is for its owner.
		mode := fs.FileMode(0o600)
		if configured.SocketMask != nil {
			mode = 0o777 &^ *configured.SocketMask
		}
		if info, err := os.Lstat(spec.Listen.Path); err == nil && info.Mode().Type() == fs.ModeSocket && configured.UnlinkSockets {
			_ = os.Remove(spec.Listen.Path) // if it cannot be, the next line says so
		}
		ln, err := listen.ListenFile(spec.Listen.Path, mode)
		if err != nil {
			return nil, listenError(spec, err)
		}
		return []net.Listener{ln}, nil
	case spec.Listen.Host == hostport.NoHost:
		hosts = []string{"127.0.0.1", "::1"}
	default:
		hosts = []string{spec.Listen.Host}
	}
	var listeners []net.Listener
	for _, host := range hosts {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, spec.Listen.Port))
		switch {
		case err == nil:
			listeners = append(listeners, ln)
		case host == "::1" && len(listeners) > 0 && !errors.Is(err, syscall.EADDRINUSE):
			// This machine has no IPv6.
		default:
			for _, ln := range listeners {
				_ = ln.Close()
			}
			return nil, listenError(spec, err)
		}
	}
	return listeners, nil
}

// listenError says which forward cannot be listened on. The error of net.Listen
// names the address.
func listenError(spec hostport.Forward, err error) error {
	return fmt.Errorf("forward %q: %w", spec.Text, err)
}
