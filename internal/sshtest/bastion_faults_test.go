package sshtest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// within runs f and reports whether it returned in time. What f waits for must
// come in the end, at the latest when the test does.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

func TestBastionHalfHandshakes(t *testing.T) {
	b := NewBastion(t, BastionOptions{})
	for name, test := range map[string]struct {
		fault HandshakeFault
		want  string // what is read
		ends  bool   // and whether the stream ends after it
	}{
		"silent":             {HandshakeSilent, "", false},
		"version only":       {HandshakeVersionOnly, versionLine, false},
		"drop":               {HandshakeDrop, "", true},
		"drop after version": {HandshakeDropAfterVersion, versionLine, true},
		"tarpit":             {HandshakeTarpit, "please wait\r\nplease wait\r\nplease wait\r\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			b.Misbehave(Faults{Handshake: test.fault, TarpitInterval: time.Millisecond})
			c, err := net.Dial("tcp", b.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			expect(t, c, test.want, Patience)
			if test.fault == HandshakeTarpit {
				expect(t, c, test.want, Patience) // without an end
				return
			}
			if !test.ends {
				expectNothing(t, c)
				return
			}
			_ = c.SetReadDeadline(time.Now().Add(Patience))
			if n, err := c.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("not ended: %d bytes, %v", n, err)
			}
		})
	}
	b.Misbehave(Faults{})
	if _, err := ssh.Dial("tcp", b.Addr(), clientConfig(b.HostKeyFingerprint())); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Errorf("cured, it said %v", err)
	}
}

func TestBastionHoldsOpens(t *testing.T) {
	target := serveTCP(t, echo)
	b, client := keyBastion(t, BastionOptions{})
	b.Misbehave(Faults{HoldOpens: true})
	opened := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := client.DialContext(ctx, "tcp", target)
		opened <- err
	}()
	Eventually(t, Patience, "a pending open", func() bool { return b.Stats().Pending == 1 })
	cancel() // abandons it
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s := b.Stats(); s.Pending != 1 || s.Channels != 0 {
		t.Fatalf("stats %+v", s)
	}
	b.Misbehave(Faults{})
	// x/crypto closes the channel that comes late.
	Eventually(t, Patience, "the late answer and its end", func() bool {
		s := b.Stats()
		return s.Pending == 0 && s.Opens == 1 && s.Channels == 0
	})
}

// Close must not wait for what is held back.
func TestBastionClosesWhileHolding(t *testing.T) {
	b, client := keyBastion(t, BastionOptions{})
	b.Misbehave(Faults{HoldOpens: true, HoldRequests: true})
	go func() { _, _ = client.Dial("tcp", "127.0.0.1:1") }()
	go func() { _, _, _ = client.SendRequest("keepalive@openssh.com", true, nil) }()
	Eventually(t, Patience, "a pending open", func() bool { return b.Stats().Pending == 1 })
	if !within(Patience, func() { _ = b.Close() }) {
		t.Fatal("Close hangs")
	}
}

func TestBastionHoldsAuth(t *testing.T) {
	b := NewBastion(t, BastionOptions{Password: "secret"})
	b.Misbehave(Faults{HoldAuth: true})
	done := make(chan error, 1)
	go func() {
		client, err := ssh.Dial("tcp", b.Addr(), clientConfig(b.HostKeyFingerprint(), ssh.Password("secret")))
		if err == nil {
			_ = client.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	b.Misbehave(Faults{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBastionHoldsRequests(t *testing.T) {
	target := serveTCP(t, echo)
	b, client := keyBastion(t, BastionOptions{})
	b.Misbehave(Faults{HoldRequests: true})
	done := make(chan error, 1)
	go func() {
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		done <- err
	}()
	// More than x/crypto would queue: the connection must not freeze.
	for range 50 {
		if _, _, err := client.SendRequest("noise@example.com", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := client.Dial("tcp", target); err != nil {
		t.Fatal(err)
	} else {
		_ = c.Close()
	}
	select {
	case err := <-done:
		t.Fatalf("answered: %v", err)
	default:
	}
	b.Misbehave(Faults{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBastionClosesChannels(t *testing.T) {
	target := serveTCP(t, func(c *net.TCPConn) { _, _ = io.WriteString(c, "hello") })
	b, client := keyBastion(t, BastionOptions{})
	b.Misbehave(Faults{CloseChannels: true})
	c, err := client.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c); got != "" {
		t.Errorf("got %q", got)
	}
	Eventually(t, Patience, "the channel's end", func() bool { return b.Stats().Channels == 0 })
}

func TestBastionOpensTowardsTheClient(t *testing.T) {
	b, _ := keyBastion(t, BastionOptions{})
	Eventually(t, Patience, "a connection", func() bool { return len(b.Conns()) == 1 })
	_, _, err := b.Conns()[0].OpenChannel("forwarded-tcpip", nil)
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != ssh.UnknownChannelType {
		t.Errorf("x/crypto's client answered %v", err)
	}
}

// The bastion's own key exchanges must happen, and lose nothing.
func TestBastionRekeys(t *testing.T) {
	target := serveTCP(t, echo)
	key := NewKey()
	b := NewBastion(t, BastionOptions{
		AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
		Config:         ssh.Config{RekeyThreshold: 64 << 10},
	})
	exchanges := 0
	config := clientConfig("", ssh.PublicKeys(key))
	config.HostKeyCallback = func(string, net.Addr, ssh.PublicKey) error { // at every exchange
		exchanges++
		return nil
	}
	client, err := ssh.Dial("tcp", b.Addr(), config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	const size = 8 << 20 // some MiB may be queued during an exchange
	go func() {
		_, _ = io.CopyN(c, Body(), size)
		_ = c.(ssh.Channel).CloseWrite()
	}()
	got := readAll(t, c)
	want, _ := io.ReadAll(io.LimitReader(Body(), size))
	if got != string(want) {
		t.Errorf("got %d bytes, or others", len(got))
	}
	_ = client.Close()
	_ = client.Wait()
	if exchanges < 3 {
		t.Errorf("%d key exchanges", exchanges)
	}
}
