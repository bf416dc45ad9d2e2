// run.go runs a command on a server, as ssh does. No tunnel does so: it is for a person
// who installs a key.

package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
)

// maxOutput is how much of a command's output is kept, in bytes.
const maxOutput = 64 << 10

// Run logs in once and runs a command in the user's login shell. Its standard input is what
// input returns for the server's identification string. Run returns what the command prints,
// its errors included, up to 64 KiB. If the command fails, or cannot run, the error is an
// *ssh.ExitError or another of package ssh. If there is no connection, the error is that of
// the connect. It ends with ctx. jump may be nil.
func Run(ctx context.Context, cfg Config, jump *Jump, state State, command string, input func(server string) io.Reader) (string, error) {
	state.Demand = connlimit.Demand{Forced: true}
	c := New(cfg, jump, make(chan struct{}, 1), func() State { return state }, new(atomic.Int64), new(atomic.Int64))
	defer c.Close()
	connection, failures := c.Connect(ctx, c.Hosts()[:1])
	if connection == nil {
		var errs []error
		for _, f := range failures {
			errs = append(errs, f.Err)
		}
		if len(errs) == 0 {
			errs = append(errs, context.Cause(ctx))
		}
		return "", errors.Join(errs...)
	}
	client := ssh.NewClient(connection.conn, connection.channels, connection.requests)
	defer func() { _ = client.Close() }()
	stop := context.AfterFunc(ctx, func() { connection.Client.Close(context.Cause(ctx)) })
	defer stop()

	session, err := client.NewSession()
	if err != nil {
		return "", fmt.Errorf("opening a session: %w", err)
	}
	output := new(limitedOutput)
	session.Stdin, session.Stdout, session.Stderr = input(string(client.ServerVersion())), output, output
	err = session.Run(command)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return output.String(), err
}

// limitedOutput keeps the beginning of what is written.
type limitedOutput struct {
	// mu guards the field below.
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer. It takes everything.
func (o *limitedOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p[:min(len(p), maxOutput-len(o.kept))]...)
	return len(p), nil
}

func (o *limitedOutput) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.kept)
}
