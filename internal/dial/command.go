package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// errTokens is what CommandLine refuses.
func errTokens(err error) error {
	return fmt.Errorf("proxy_command: %w; the tokens are %%h, %%p, %%r and %%%%", err)
}

// CommandLine returns the program of Command and its arguments, with their tokens
// replaced: %h and %p by the bastion's host and port, %r by the user, %% by a %. Each
// argument stays one, whatever a token stands for; a shell gets none that means
// something to it.
func (d *Dialer) CommandLine() ([]string, error) {
	host, port, err := net.SplitHostPort(d.Address)
	if err != nil {
		return nil, err
	}
	tokens := sshsyntax.Tokens{'h': host, 'p': port, 'r': d.User}
	if d.Shell {
		command, err := tokens.ExpandForShell("exec " + d.Command[0])
		if err != nil {
			return nil, errTokens(err)
		}
		return subprocess.Shell(command), nil
	}
	argv := slices.Clone(d.Command)
	for i, arg := range argv {
		if argv[i], err = tokens.Expand(arg); err != nil {
			return nil, errTokens(err)
		}
	}
	return argv, nil
}

// CommandName returns what logs and errors show of Command: its program.
func (d *Dialer) CommandName() string {
	if !d.Shell {
		return d.Command[0]
	}
	return subprocess.Program(d.Command[0])
}

// commandConn is a connection that a command makes: what is written is its
// standard input, what is read its standard output.
type commandConn struct {
	net.Conn
	name    string
	process *subprocess.Process
}

// startCommand starts the command. conn is the other end of its standard input and
// output.
func (d *Dialer) startCommand(log *zap.Logger) (conn net.Conn, process *subprocess.Process, err error) {
	argv, err := d.CommandLine()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := commandSockets()
	if err != nil {
		return nil, nil, fmt.Errorf("proxy_command: %w", err)
	}
	defer func() { _ = theirs.Close() }()
	command := &subprocess.Command{Option: "proxy_command", Name: d.CommandName(), Args: argv, Stdin: theirs, Stdout: theirs, Log: log}
	if process, err = command.Start(); err != nil {
		_ = ours.Close()
		return nil, nil, err
	}
	return ours, process, nil
}

// dialCommand starts the command. It ends with the connection, and
// everything that it has started with it.
func (d *Dialer) dialCommand(ctx context.Context, log *zap.Logger) (net.Conn, error) {
	conn, process, err := d.startCommand(log)
	switch {
	case err != nil:
		return nil, err
	case d.Fdpass:
		return receiveConn(ctx, conn, process)
	default:
		return &commandConn{conn, d.CommandName(), process}, nil
	}
}

// receiveConn returns the connection that a command passes as a file descriptor over its
// standard output (SCM_RIGHTS of unix(7)). As ssh does, it waits for the command's end.
func receiveConn(ctx context.Context, over net.Conn, process *subprocess.Process) (net.Conn, error) {
	defer func() { _ = over.Close() }()
	defer process.End()
	stop := context.AfterFunc(ctx, func() { _ = over.SetDeadline(time.Now()) })
	defer stop()
	conn, err := receiveSocket(over)
	if err == nil {
		select {
		case <-process.Ended():
			return conn, nil
		case <-ctx.Done():
			_ = conn.Close()
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("proxy_command: it passed no connection and ended, as ProxyUseFdpass requires: %w", context.Cause(ctx))
	}
	select {
	case <-process.Ended():
		return nil, fmt.Errorf("%w; it passed no connection, as ProxyUseFdpass requires: %w", process.Err(), err)
	case <-time.After(subprocess.Grace):
		return nil, fmt.Errorf("proxy_command: it passed no connection, as ProxyUseFdpass requires: %w", err)
	}
}

// Read implements net.Conn.
func (c *commandConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.explain(err)
}

// Write implements net.Conn.
func (c *commandConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.explain(err)
}

// explain makes the error of a command's end say how it ended.
func (c *commandConn) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return c.end()
	}
	return err
}

// end is the error of a connection whose command has closed it.
func (c *commandConn) end() error {
	select {
	case <-c.process.Ended():
		return fmt.Errorf("%w: %w", c.process.Err(), io.EOF)
	case <-c.process.Ending():
		return net.ErrClosed
	case <-time.After(subprocess.Grace):
		return fmt.Errorf("proxy_command %q has closed the connection: %w", c.name, io.EOF)
	}
}

// Close implements net.Conn.
func (c *commandConn) Close() error {
	c.process.End()
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn.
func (c *commandConn) RemoteAddr() net.Addr { return commandAddr(c.name) }

// commandAddr stands for the peer of a command's connection, which only the
// command knows.
type commandAddr string

func (a commandAddr) Network() string { return "proxy_command" }
func (a commandAddr) String() string  { return "proxy_command " + string(a) }
