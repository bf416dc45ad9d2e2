package sshtunnel

// command_forward.go contains `caddy ssh-tunnel forward`: ssh -L, -R and -D in
// one line.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/spf13/cobra"
)

const forwardHelp = `  caddy ssh-tunnel forward 8008:web:80 user@sshserver

forwards port 8008 of this machine to port 80 of the host web, as the SSH server
sees it: http://localhost:8008 is then http://web. It needs no configuration, and
no running Caddy. Ctrl-C ends it.

Before the destination there may be any number of forwards, written as behind
ssh's -L:

  [bind:]port:host:hostport            a port here, to a port there
  [bind:]port:/remote/socket           a port here, to a Unix socket there
  /local/socket:host:hostport          a Unix socket here, to a port there
  /local/socket:/remote/socket

IPv6 addresses stand in brackets. Without a bind address only this machine can
connect; an empty one, or *, is all interfaces. -R listens there and connects
from here. -D is a SOCKS5 proxy.

The destination is [user@]host[:port] or ssh://[user@]host[:port]. Keys are taken
from the agent and ~/.ssh, as ssh does; ~/.ssh/config is not read. Host keys are
looked up in known_hosts. An unknown one is shown and asked about on the
terminal, and added to known_hosts; where there is no terminal it is refused.

It prints to stderr what it forwards, and a line as each connection opens and as
it closes. If it cannot start it says why in one line, and the exit status is 1:
when a forward cannot be listened on, or the SSH server cannot be reached or
refuses. A connection to the server that is lost later is made again. After
Ctrl-C, SIGTERM or SIGHUP the exit status is 0.`

// forwardFlags is what the command line says.
type forwardFlags struct {
	local, remote, dynamic []string
	identityFiles          []string
	user, port, jumps      string
	knownHosts             string
	noKey, password        bool
	quiet, verbose         bool
}

func newForwardCommand() *cobra.Command {
	var flags forwardFlags
	cmd := &cobra.Command{
		Use:   "forward [flags] [<forward>...] <destination>",
		Short: "Forwards ports through an SSH server, as ssh -L, -R and -D do",
		Long:  forwardHelp,
		Example: `  caddy ssh-tunnel forward 8008:web:80 user@sshserver
  caddy ssh-tunnel forward 5432:/run/postgresql/.s.PGSQL.5432 db.example.com
  caddy ssh-tunnel forward -R 9000:localhost:3000 -J jump.example.com user@sshserver:2222
  caddy ssh-tunnel forward -D 1080 user@sshserver`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return flags.run(args)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&flags.local, "local", "L", nil, "`forward` a port or socket here to one there; the same as before the destination. Repeats")
	f.StringArrayVarP(&flags.remote, "remote", "R", nil, "`forward` a port or socket there to one here. Repeats")
	f.StringArrayVarP(&flags.dynamic, "dynamic", "D", nil, "`[bind:]port` here to be a SOCKS5 proxy. Repeats")
	f.StringArrayVarP(&flags.identityFiles, "identity", "i", nil, "`file` of a private key, offered before the agent's and instead of those in ~/.ssh. Repeats")
	f.StringVarP(&flags.user, "login", "l", "", "`user` to log in as (default: the user that runs this)")
	f.StringVarP(&flags.port, "port", "p", "", "`port` of the SSH server (default: 22)")
	f.StringVarP(&flags.jumps, "jump", "J", "", "SSH `servers` to go through, in this order, each [user@]host[:port], with commas between them")
	f.BoolVar(&flags.noKey, "no-key", false, "offer no key")
	f.BoolVar(&flags.password, "password", false, "ask for a password on the terminal where keys do not do; if standard input is not a terminal, its next line is taken")
	f.StringVar(&flags.knownHosts, "known-hosts", "", "`file` of known host keys, instead of ~/.ssh/known_hosts and the system's")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "print nothing but errors that end it")
	f.BoolVarP(&flags.verbose, "verbose", "v", false, "print what the tunnel does")
	cmd.MarkFlagsMutuallyExclusive("quiet", "verbose")
	return cmd
}

// run forwards until a signal ends it.
func (flags *forwardFlags) run(args []string) error {
	specs, err := flags.specs(args[:len(args)-1])
	if err != nil {
		return err
	}
	hops, err := flags.hops(args[len(args)-1])
	if err != nil {
		return err
	}
	if len(specs) == 0 {
		return errors.New("nothing to forward; write it before the destination, as in 8008:web:80 user@sshserver")
	}

	ctx, stop := untilInterrupted()
	defer stop()

	run := &forwardRun{output: newOutput(os.Stderr, flags), hops: hops}
	defer run.close()
	// What fails without the bastion, fails before anybody is asked anything.
	if err := run.listen(specs); err != nil {
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

// specs reads the forwards: those before the destination, then the flags'.
func (flags *forwardFlags) specs(positional []string) ([]forwardSpec, error) {
	var specs []forwardSpec
	for _, group := range []struct {
		kind  forwardKind
		texts []string
	}{
		{forwardL, positional},
		{forwardL, flags.local},
		{forwardR, flags.remote},
		{forwardD, flags.dynamic},
	} {
		for _, text := range group.texts {
			spec, err := parseForward(group.kind, text)
			if err != nil {
				return nil, err
			}
			specs = append(specs, spec)
		}
	}
	return specs, nil
}

// listenLocal listens on a port or socket of this machine. Where no bind
// address is written that is both addresses of "localhost", if there are two:
// browsers try either first.
func listenLocal(spec forwardSpec) ([]net.Listener, error) {
	var hosts []string
	switch {
	case spec.listen.path != "":
		// As sshd and ssh do: what a socket leads to is for its owner.
		ln, err := listenSocket(spec.listen.path, 0o600)
		if err != nil {
			return nil, listenError(spec, err)
		}
		return []net.Listener{ln}, nil
	case spec.listen.host == noHost:
		hosts = []string{"127.0.0.1", "::1"}
	default:
		hosts = []string{spec.listen.host}
	}
	var listeners []net.Listener
	for _, host := range hosts {
		ln, err := net.Listen("tcp", net.JoinHostPort(host, spec.listen.port))
		switch {
		case err == nil:
			listeners = append(listeners, ln)
		case host == "::1" && len(listeners) > 0 && !errors.Is(err, syscall.EADDRINUSE):
			// This machine has no IPv6.
		default:
			closeAll(listeners)
			return nil, listenError(spec, err)
		}
	}
	return listeners, nil
}

// listenError says which forward cannot be listened on. The error of net.Listen
// names the address.
func listenError(spec forwardSpec, err error) error {
	return fmt.Errorf("forward %q: %w", spec.text, err)
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		_ = ln.Close()
	}
}
