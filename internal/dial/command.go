package dial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

const (
	// commandGrace is how long a command may take to end after it was asked to,
	// before it is killed.
	commandGrace = time.Second
	// maxCommandLine is how much of a line that a command writes to its standard
	// error is logged.
	maxCommandLine = 1024
	// commandWarnings is how many of its lines are warnings. The others are for
	// debugging.
	commandWarnings = 5
)

// CommandLine returns the arguments of Command with their tokens replaced:
// %h and %p by the bastion's host and port, %r by the user, %% by a %. Each
// argument stays one, whatever a token stands for.
func (d *Dialer) CommandLine() ([]string, error) {
	host, port, err := net.SplitHostPort(d.Address)
	if err != nil {
		return nil, err
	}
	tokens := sshsyntax.Tokens{'h': host, 'p': port, 'r': d.User}
	argv := slices.Clone(d.Command)
	for i, arg := range argv {
		if argv[i], err = tokens.Expand(arg); err != nil {
			return nil, fmt.Errorf("proxy_command: %w; the tokens are %%h, %%p, %%r and %%%%", err)
		}
	}
	return argv, nil
}

// commandConn is a connection that a command makes: what is written is its
// standard input, what is read its standard output.
type commandConn struct {
	net.Conn
	name string
	// ctx ends with Close.
	ctx    context.Context
	cancel context.CancelFunc
	// ended is closed when the command has ended and was reaped; state is set
	// before.
	ended chan struct{}
	state error
	// logged is closed when all that it had to say is.
	logged chan struct{}

	// mu guards said.
	mu sync.Mutex
	// said is the last line that the command wrote to its standard error.
	said string
}

// dialCommand starts the command. It ends with the connection, and
// everything that it has started with it.
func (d *Dialer) dialCommand(log *zap.Logger) (net.Conn, error) {
	argv, err := d.CommandLine()
	if err != nil {
		return nil, err
	}
	ours, theirs, err := commandSockets()
	if err != nil {
		return nil, fmt.Errorf("proxy_command: %w", err)
	}
	defer func() { _ = theirs.Close() }()
	stderr, theirStderr, err := os.Pipe()
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("proxy_command: %w", err)
	}
	defer func() { _ = theirStderr.Close() }()

	c := &commandConn{Conn: ours, name: argv[0], ended: make(chan struct{}), logged: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	cmd := exec.CommandContext(c.ctx, argv[0], argv[1:]...) //nolint:gosec // what it is for; the environment permits it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirStderr
	ownGroup(cmd)
	cmd.Cancel = func() error { return endGroup(cmd.Process.Pid) }
	cmd.WaitDelay = commandGrace
	if err := cmd.Start(); err != nil {
		_, _ = c.Close(), stderr.Close()
		return nil, fmt.Errorf("proxy_command: %w", err)
	}
	go c.logLines(stderr, log.With(zap.String("command", argv[0]), zap.Int("pid", cmd.Process.Pid)))
	go c.reap(cmd, stderr)
	return c, nil
}

// reap waits for the end of the command, which Close brings about. It returns when the
// command, with all that it has started, has ended.
func (c *commandConn) reap(cmd *exec.Cmd, stderr *os.File) {
	c.state = cmd.Wait()
	// The group's number is not given to another one while it has a process; if
	// it has none, not in the moment since Wait.
	killGroup(cmd.Process.Pid)
	close(c.ended)
	// What has left the group may hold its standard error open for ever.
	_ = stderr.SetReadDeadline(time.Now().Add(commandGrace))
}

// logLines logs what the command has to say. It returns when the command and
// all that it has started have ended.
func (c *commandConn) logLines(stderr *os.File, log *zap.Logger) {
	defer close(c.logged)
	defer func() { _ = stderr.Close() }()
	lines := bufio.NewReaderSize(stderr, maxCommandLine)
	rest := false // of a line that was too long
	for n := 0; ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		if text := printable.Text(strings.TrimSpace(string(line))); text != "" && !rest {
			level := zap.WarnLevel
			if n >= commandWarnings {
				level = zap.DebugLevel
			}
			n++
			c.mu.Lock()
			c.said = text
			c.mu.Unlock()
			log.Log(level, "proxy_command says", zap.String("line", text))
		}
		rest = more
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

// explain has the error of a command's end say how it ended.
func (c *commandConn) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return c.end()
	}
	return err
}

// end is the error of a connection whose command has closed it.
func (c *commandConn) end() error {
	select {
	case <-c.ended:
	case <-c.ctx.Done():
		return net.ErrClosed
	case <-time.After(commandGrace):
		return fmt.Errorf("proxy_command %q has closed the connection: %w", c.name, io.EOF)
	}
	select { // the last thing that it said is most likely why
	case <-c.logged:
	case <-time.After(commandGrace):
	}
	how := "exit status 0"
	if c.state != nil {
		how = c.state.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said != "" {
		how += fmt.Sprintf(", %q", c.said)
	}
	return fmt.Errorf("proxy_command %q has ended (%s): %w", c.name, how, io.EOF)
}

// Close implements net.Conn.
func (c *commandConn) Close() error {
	c.cancel()
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn.
func (c *commandConn) RemoteAddr() net.Addr { return commandAddr(c.name) }

// commandAddr stands for the peer of a command's connection, which only the
// command knows.
type commandAddr string

func (a commandAddr) Network() string { return "proxy_command" }
func (a commandAddr) String() string  { return "proxy_command " + string(a) }
