package sshtest

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

func TestMain(m *testing.M) {
	Isolate()
	goleak.VerifyTestMain(m)
}

// clientConfig trusts exactly the fingerprint.
func clientConfig(fingerprint string, methods ...ssh.AuthMethod) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: "deploy",
		Auth: methods,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if ssh.FingerprintSHA256(key) != fingerprint {
				return errors.New("host key mismatch")
			}
			return nil
		},
	}
}

// dial logs in to a bastion, through addr if that is not empty.
func dial(t *testing.T, b *Bastion, addr string, methods ...ssh.AuthMethod) *ssh.Client {
	t.Helper()
	if addr == "" {
		addr = b.Addr()
	}
	client, err := ssh.Dial("tcp", addr, clientConfig(b.HostKeyFingerprint(), methods...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// keyBastion is a bastion and a client that has logged in with a key.
func keyBastion(t *testing.T, opts BastionOptions) (*Bastion, *ssh.Client) {
	t.Helper()
	key := NewKey()
	opts.AuthorizedKeys = append(opts.AuthorizedKeys, key.PublicKey())
	b := NewBastion(t, opts)
	return b, dial(t, b, "", ssh.PublicKeys(key))
}

// serveTCP runs handle for each connection to a loopback listener, until the
// test ends.
func serveTCP(t *testing.T, handle func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				handle(c.(*net.TCPConn))
			}()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}

// echo sends back what it gets, then the end of the stream.
func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

// readAll fails the test if the end of the stream is not there in time.
func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	if c, ok := r.(*net.TCPConn); ok {
		_ = c.SetReadDeadline(time.Time{}) // an earlier one of the test
	}
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(r)
		done <- result{b, err}
	}()
	select {
	case res := <-done:
		if res.err != nil {
			t.Fatal(res.err)
		}
		return string(res.b)
	case <-time.After(Patience):
		t.Fatal("no end of the stream")
		return ""
	}
}
