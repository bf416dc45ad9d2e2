// Package tunneltest helps to test tunnels: configurations that a bastion for tests lets in,
// and what is at the other end of a channel. It opens no tunnel. Only the tests of packages
// tunnel and pool import it.
package tunneltest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// Server is an SSH server to test against: the embedded one or, where there are
// any, a real one.
type Server struct {
	Name string
	// Start starts the server, and returns the Config of a tunnel to it.
	Start func(t testing.TB) connect.Config
}

// Servers are all of them.
var Servers = []Server{
	{"embedded", func(t testing.TB) connect.Config {
		key := sshtest.NewKey()
		b := Bastion(t, key, nil)
		return Config(t, key, b.HostKeyFingerprint(), b.Addr())
	}},
}

// Bastion starts an embedded bastion that a Config lets in, with the options that mutate
// sets.
func Bastion(t testing.TB, key *sshtest.Key, mutate func(*sshtest.BastionOptions)) *sshtest.Bastion {
	t.Helper()
	opts := sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}}
	if mutate != nil {
		mutate(&opts)
	}
	return sshtest.NewBastion(t, opts)
}

// Config returns the Config of a tunnel to a bastion at addr.
func Config(t testing.TB, key *sshtest.Key, hostKey, addr string) connect.Config {
	t.Helper()
	return connect.Config{
		Name: "test", Address: addr, User: "tester", IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []sshauth.IdentityFile{{Path: sshtest.WriteFile(t, "id", key.PEM(""))}},
		HostKeys:      []string{hostKey},
	}
}

// Bubble runs f in simulated time, with nothing known of any bastion.
func Bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	connlimit.Reset()
	defer connlimit.Reset()
	synctest.Test(t, f)
}

// Dialer opens channels to targets of a type.
type Dialer[T any] interface {
	Dial(ctx context.Context, target T) (*sshconn.Conn, error)
}

// Dial opens a channel within a time.
func Dial[T any](t testing.TB, d Dialer[T], target T, timeout time.Duration) (*sshconn.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return d.Dial(ctx, target)
}

// MustDial opens a channel, which the test's end closes, or fails the test.
func MustDial[T any](t testing.TB, d Dialer[T], target T) *sshconn.Conn {
	t.Helper()
	c, err := Dial(t, d, target, sshtest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Echo is a server for sshtest.Listen.
func Echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.(*net.TCPConn).CloseWrite()
}

// RoundTrip sends a message through an echoing conn.
func RoundTrip(t testing.TB, c net.Conn) {
	t.Helper()
	const msg = "hello"
	_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := io.WriteString(c, msg); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, len(msg))
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != msg {
		t.Fatalf("got %q, %v", buf, err)
	}
	_ = c.SetDeadline(time.Time{})
}

// Within runs f and fails the test if it takes longer than limit, or
// sshtest.Patience if that is longer.
func Within(t testing.TB, limit time.Duration, what string, f func()) {
	t.Helper()
	limit = max(limit, sshtest.Patience)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(limit):
		t.Fatalf("%s took longer than %s", what, limit)
	}
}

// Log makes a logger, and returns what is logged to it.
func Log(logger **zap.Logger) *observer.ObservedLogs {
	core, logs := observer.New(zapcore.DebugLevel)
	*logger = zap.New(core)
	return logs
}

// Logged reports whether a message was logged.
func Logged(logs *observer.ObservedLogs, message string) bool {
	return logs.FilterMessage(message).Len() > 0
}

// WantLost checks that err is what a lost connection gives.
func WantLost(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v, want an io.ErrUnexpectedEOF", err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got a timeout: %v", err)
	}
}

// Events is a report.Observer.
type Events chan report.Event

// Observe implements report.Observer.
func (o Events) Observe(e report.Event) { o <- e }

// Next waits for the next event.
func (o Events) Next(t testing.TB) report.Event {
	t.Helper()
	select {
	case e := <-o:
		return e
	case <-time.After(sshtest.Patience):
		t.Fatal("no event")
		return report.Event{}
	}
}
