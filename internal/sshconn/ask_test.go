package sshconn

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// asked is an ssh.Conn whose server answers what answers receives.
type asked struct {
	ssh.Conn
	asked   chan string
	answers chan answer
}

func (a *asked) SendRequest(name string, _ bool, payload []byte) (bool, []byte, error) {
	a.asked <- name + string(payload)
	answer, ok := <-a.answers
	if !ok {
		return false, nil, io.EOF
	}
	return answer.ok, answer.payload, answer.err
}

// TestAsk: the answer to a request comes with its payload, and one that does not come is
// no stall.
func TestAsk(t *testing.T) {
	t.Parallel()
	ours, _ := net.Pipe()
	conn := &asked{asked: make(chan string, 1), answers: make(chan answer)}
	c := New(wire.New(ours, StallAfter), conn, About{})
	type result struct {
		payload []byte
		err     error
	}
	results := make(chan result)
	ask := func(ctx context.Context) {
		t.Helper()
		go func() {
			payload, err := c.Ask(ctx, "name ", []byte("payload"))
			results <- result{payload, err}
		}()
		if got := <-conn.asked; got != "name payload" {
			t.Errorf("asked %q", got)
		}
	}
	ask(t.Context())
	if waiting := c.WaitingFor(); waiting != 0 {
		t.Errorf("the connection has waited for %v", waiting)
	}
	conn.answers <- answer{ok: true, payload: []byte("answer")}
	if r := <-results; string(r.payload) != "answer" || r.err != nil {
		t.Errorf("got %q, %v", r.payload, r.err)
	}
	ask(t.Context())
	conn.answers <- answer{payload: []byte("answer")}
	r := <-results
	sshtest.WantError(t, r.err, "refused")

	ctx, cancel := context.WithCancelCause(t.Context())
	ask(ctx)
	cancel(errors.New("out of time"))
	if r := <-results; !errors.Is(r.err, context.Canceled) {
		t.Errorf("given up: %v", r.err)
	}
	conn.answers <- answer{ok: true} // nobody waits

	ask(t.Context())
	c.Close(io.ErrUnexpectedEOF)
	if r := <-results; !errors.Is(r.err, context.Canceled) {
		t.Errorf("lost: %v", r.err)
	}
	close(conn.answers)
}
