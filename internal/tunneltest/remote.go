package tunneltest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// CloseWriter is a connection that can be half-closed.
type CloseWriter interface{ CloseWrite() error }

// FreeAddr returns a loopback address that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", sshtest.NewPort(t))
}

// Serve accepts until the listener is closed, which it must be in the test.
// Errors but that are the test's.
func Serve(t testing.TB, ln net.Listener, handle func(net.Conn)) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accepting: %v", err)
				}
				return
			}
			wg.Go(func() {
				defer func() { _ = c.Close() }()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
}

// EchoBack echoes what comes in until its end, and then half-closes.
func EchoBack(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.(CloseWriter).CloseWrite()
}

// Visit makes one connection to an echoing address.
func Visit(network, addr string) error {
	c, err := net.DialTimeout(network, addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
	if _, err := io.WriteString(c, "hello"); err != nil {
		return err
	}
	if err := c.(CloseWriter).CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != "hello" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

// Serving waits until an address is served.
func Serving(t testing.TB, network, addr string) {
	t.Helper()
	sshtest.Eventually(t, 15*time.Second, "connections to "+addr, func() bool { return Visit(network, addr) == nil })
}

// ForwardedTCPIP returns the payload of a "forwarded-tcpip" open (RFC 4254 section 7.2).
func ForwardedTCPIP(host string, port uint32, originator string, originatorPort uint32) []byte {
	return ssh.Marshal(struct {
		Host           string
		Port           uint32
		Originator     string
		OriginatorPort uint32
	}{host, port, originator, originatorPort})
}
