// Package terminal asks a person questions on the terminal, and reads what is passed on
// standard input instead. It knows nothing of what is asked. Package command imports it.
package terminal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// ErrInterrupted ends a question that nobody is to answer any more.
var ErrInterrupted = errors.New("interrupted")

// Terminal is where a person can be asked.
type Terminal struct {
	in  *os.File
	out io.Writer
}

// Open returns the terminal that the process was started from, even if
// standard input is something else; or nil if there is none.
func Open() *Terminal {
	if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
		return &Terminal{in: tty, out: tty}
	}
	if IsStdin() {
		return &Terminal{in: os.Stdin, out: os.Stderr}
	}
	return nil
}

// IsStdin reports whether standard input is a terminal.
func IsStdin() bool { return term.IsTerminal(int(os.Stdin.Fd())) }

// Close closes the terminal, which may be nil.
func (t *Terminal) Close() {
	if t != nil && t.in != os.Stdin {
		_ = t.in.Close()
	}
}

// Ask returns the line that is typed after a question.
func (t *Terminal) Ask(ctx context.Context, question string) (string, error) {
	_, _ = io.WriteString(t.out, question)
	answer, err := ReadLine(ctx, t.in)
	if ctx.Err() != nil {
		_, _ = io.WriteString(t.out, "\n")
	}
	return answer, err
}

// Secret is Ask, and what is typed does not show.
func (t *Terminal) Secret(ctx context.Context, question string) (string, error) {
	fd := int(t.in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	answer, err := awaitInput(ctx, func() (string, error) {
		go t.askWhenSilent(fd, state, question)
		secret, err := term.ReadPassword(fd)
		return string(secret), err
	})
	if ctx.Err() != nil {
		_ = term.Restore(fd, state) // ReadPassword still waits, and the echo is off
	}
	_, _ = io.WriteString(t.out, "\n")
	return answer, err
}

// askWhenSilent writes a question once the terminal is no longer in a state, so
// that nothing shows that is typed at once. It returns then, or after a second:
// the terminal may have been silent before.
func (t *Terminal) askWhenSilent(fd int, state *term.State, question string) {
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if now, err := term.GetState(fd); err != nil || *now != *state {
			break
		}
	}
	_, _ = io.WriteString(t.out, question)
}

// ReadLine reads one line, and not a byte of the next. Nobody need end the last
// one.
func ReadLine(ctx context.Context, r io.Reader) (string, error) {
	return awaitInput(ctx, func() (string, error) {
		var line []byte
		b := make([]byte, 1)
		for len(line) < 4096 {
			if _, err := io.ReadFull(r, b); err != nil {
				if errors.Is(err, io.EOF) && len(line) > 0 {
					break
				}
				return "", fmt.Errorf("nothing was entered: %w; type a line, or pass one on standard input", err)
			}
			if b[0] == '\n' {
				break
			}
			line = append(line, b[0])
		}
		return strings.TrimSuffix(string(line), "\r"), nil
	})
}

// awaitInput runs read, and gives up on it when ctx ends. Its goroutine returns when
// somebody has typed a line, or with the process, which is about to end.
func awaitInput(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		if ctx.Err() == nil {
			return r.text, r.err
		}
	case <-ctx.Done():
	}
	return "", ErrInterrupted
}
