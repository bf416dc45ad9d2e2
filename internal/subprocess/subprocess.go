// Package subprocess runs commands: each in a process group of its own, which it ends
// with the command. It logs what a command writes to its standard error. It runs nothing
// unless the environment of this process allows that. It does not know what commands are
// for. Packages that run commands import it; no other one runs any.
package subprocess

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

const (
	// Grace is how long a command may take to end after it was asked to, before it is
	// killed.
	Grace = time.Second
	// maxCommandLine is how much of a line that a command writes to its standard
	// error is logged.
	maxCommandLine = 1024
	// commandWarnings is how many of its lines are warnings. The others are for
	// debugging.
	commandWarnings = 5
)

// Command is what to run.
type Command struct {
	// Option names what the command is for, in logs and errors, as in
	// "proxy_command".
	Option string

	// Args are the path of the program and its arguments.
	Args []string

	// Name is what logs and errors show of it. Default: Args[0].
	Name string

	// Stdin and Stdout are its standard input and output. If nil, they are the null
	// device. The caller closes them.
	Stdin, Stdout *os.File

	// Log gets what it writes to its standard error. If nil, nobody does.
	Log *zap.Logger
}

// Shell returns the arguments that make the user's shell execute a command, as ssh
// does: that of SHELL, or else /bin/sh.
func Shell(command string) []string {
	return []string{cmp.Or(os.Getenv("SHELL"), "/bin/sh"), "-c", command}
}

// Program returns the program of a shell's command, which is what logs and errors show of
// it. That is the shell if the command begins with a variable, which may be a secret.
func Program(command string) string {
	words := strings.Fields(command)
	if len(words) > 1 && words[0] == "exec" {
		words = words[1:]
	}
	program := strings.Join(words[:min(1, len(words))], "")
	if strings.Contains(program, "=") {
		return Shell(command)[0]
	}
	return program
}

// Status returns the exit status that an error of Run says, and whether it says one.
func Status(err error) (status int, exited bool) {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || !exit.Exited() {
		return 0, false
	}
	return exit.ExitCode(), true
}

func (c *Command) name() string { return cmp.Or(c.Name, c.Args[0]) }

// Process is a command that was started.
type Process struct {
	command *Command
	// ctx ends with End.
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

// Start starts the command. It runs until it ends by itself, or End, EndAll or EndForGood is
// called. An error begins with the option.
func (c *Command) Start() (*Process, error) { return c.start(nil) }

// start is Start for a command whose standard output is read from stdout, which is not
// read for longer than a moment after the command has ended.
func (c *Command) start(stdout *os.File) (*Process, error) {
	if !Allowed() {
		return nil, fmt.Errorf("%s: %w", c.Option, ErrForbidden)
	}
	stderr, theirStderr, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Option, err)
	}
	defer func() { _ = theirStderr.Close() }()

	p := &Process{command: c, ended: make(chan struct{}), logged: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	cmd := exec.CommandContext(p.ctx, c.Args[0], c.Args[1:]...) //nolint:gosec // what it is for; the environment permits it
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	cmd.Stderr = theirStderr
	ownGroup(cmd)
	cmd.Cancel = func() error { return endGroup(cmd.Process.Pid) }
	cmd.WaitDelay = Grace
	register(p)
	if err := cmd.Start(); err != nil {
		p.cancel()
		unregister(p)
		close(p.ended)
		_ = stderr.Close()
		return nil, fmt.Errorf("%s: %w", c.Option, err)
	}
	log := c.Log
	if log == nil {
		log = zap.NewNop()
	}
	go p.logLines(stderr, log.With(zap.String("command", c.name()), zap.Int("pid", cmd.Process.Pid)))
	go p.reap(cmd, stderr, stdout)
	return p, nil
}

// End asks the command, and what it has started, to end. What has not ended a second
// later is killed. It does not wait for that.
func (p *Process) End() { p.cancel() }

// Ended is closed when the command has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Ending is closed when End was called.
func (p *Process) Ending() <-chan struct{} { return p.ctx.Done() }

// reap waits for the end of the command, which End brings about. It returns when the
// command, with all that it has started, has ended.
func (p *Process) reap(cmd *exec.Cmd, read ...*os.File) {
	p.state = cmd.Wait()
	// The group's number is not given to another one while it has a process; if
	// it has none, not in the moment since Wait.
	killGroup(cmd.Process.Pid)
	// What has left the group may keep these open for ever.
	for _, f := range read {
		if f != nil {
			_ = f.SetReadDeadline(time.Now().Add(Grace))
		}
	}
	unregister(p)
	close(p.ended)
}

// logLines logs what the command has to say. It returns when the command and
// all that it has started have ended.
func (p *Process) logLines(stderr *os.File, log *zap.Logger) {
	defer close(p.logged)
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
			p.mu.Lock()
			p.said = text
			p.mu.Unlock()
			log.Log(level, "command says", zap.String("option", p.command.Option), zap.String("line", text))
		}
		rest = more
	}
}

// Err says how the command, which has ended, did so, as in `proxy_command "nc" has ended
// (exit status 1, "its last line")`. For an exit status other than 0 it wraps an
// *exec.ExitError.
func (p *Process) Err() error {
	select { // the last thing that it said is most likely why
	case <-p.logged:
	case <-time.After(Grace):
	}
	p.mu.Lock()
	said := p.said
	p.mu.Unlock()
	if said != "" {
		said = fmt.Sprintf(", %q", said)
	}
	if p.state == nil {
		return fmt.Errorf("%s %q has ended (exit status 0%s)", p.command.Option, p.command.name(), said)
	}
	return fmt.Errorf("%s %q has ended (%w%s)", p.command.Option, p.command.name(), p.state, said)
}

// wait waits for the end of the command, which ctx bounds. It fails if that was not
// with status 0.
func (p *Process) wait(ctx context.Context) error {
	defer p.End()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.End()
		<-p.ended
	}
	switch {
	case p.state == nil:
		return nil
	case ctx.Err() != nil: // which is most likely why
		return fmt.Errorf("%s %q did not end in time (%w)", p.command.Option, p.command.name(), context.Cause(ctx))
	default:
		return p.Err()
	}
}

// Run runs the command to its end, which ctx bounds, and kills what it leaves behind. An
// exit status other than 0 is an error that wraps an *exec.ExitError.
func (c *Command) Run(ctx context.Context) error {
	p, err := c.Start()
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

// Output is Run for a command that writes at most limit bytes to its standard output,
// which it returns.
func (c *Command) Output(ctx context.Context, limit int64) ([]byte, error) {
	stdout, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Option, err)
	}
	defer func() { _ = stdout.Close() }()
	one := *c
	one.Stdout = theirs
	p, err := one.start(stdout)
	_ = theirs.Close()
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, p.End)
	defer stop()
	output, err := io.ReadAll(io.LimitReader(stdout, limit+1))
	switch {
	case int64(len(output)) > limit:
		p.End()
		<-p.ended
		return nil, fmt.Errorf("%s %q wrote more than %d bytes", c.Option, c.name(), limit)
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		p.End()
		<-p.ended
		return nil, fmt.Errorf("%s %q: %w", c.Option, c.name(), err)
	}
	return output, p.wait(ctx)
}
