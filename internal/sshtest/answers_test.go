//go:build unix

package sshtest

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestParamiko(t *testing.T) {
	exercise(t, StartParamiko(t, ParamikoOptions{}).daemon)
}

// TestParamikoReplies: each treats keepalives as it promises, and goes on to
// serve unless it is dead.
func TestParamikoReplies(t *testing.T) {
	for _, c := range []struct {
		reply KeepaliveReply
		// answers reports whether the first and second keepalive are answered by
		// something that x/crypto takes for an answer.
		first, second bool
		slow          bool
	}{
		{KeepaliveFailure, true, true, false},
		{KeepaliveUnimplemented, false, false, false},
		{KeepaliveIgnore, false, false, false},
		{KeepaliveIgnoreAll, false, false, false},
		{KeepaliveAccept, true, true, false},
		{KeepaliveOnce, true, false, false},
		{KeepaliveLate, true, true, true},
	} {
		t.Run(string(c.reply), func(t *testing.T) {
			t.Parallel()
			p := StartParamiko(t, ParamikoOptions{Reply: c.reply})
			client := mustLogin(t, p.daemon)
			began := time.Now()
			for i, want := range []bool{c.first, c.second} {
				answered := make(chan error, 1)
				go func() {
					_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
					answered <- err
				}()
				Eventually(t, 5*time.Second, "it takes the keepalive", func() bool { return p.Keepalives() > i })
				got, patience := false, Patience
				if !want {
					patience = 200 * time.Millisecond
				}
				select {
				case err := <-answered:
					got = err == nil
				case <-time.After(patience):
				}
				if got != want {
					t.Errorf("keepalive %d: answered %v", i+1, got)
				}
				if !want {
					break // x/crypto waits for the answer or has given up
				}
			}
			if took := time.Since(began); c.slow && took < 2*time.Second {
				t.Errorf("it took %v", took)
			}
			if c.reply == KeepaliveUnimplemented {
				if err := client.Wait(); err == nil || !strings.Contains(err.Error(), "unexpected message type 3") {
					t.Errorf("x/crypto has ended with %v", err)
				}
				return
			}
			opened := make(chan error, 1)
			go func() {
				ch, err := client.Dial("tcp", serveTCP(t, echo))
				if err == nil {
					_ = ch.Close()
				}
				opened <- err
			}()
			patience := Patience
			if c.reply == KeepaliveOnce {
				patience = 200 * time.Millisecond
			}
			select {
			case err := <-opened:
				if err != nil || c.reply == KeepaliveOnce {
					t.Errorf("it opened a channel: %v", err)
				}
			case <-time.After(patience):
				if c.reply != KeepaliveOnce {
					t.Error("it opens no channel")
				}
			}
		})
	}
}

// TestParamikoChannels: what each says to a channel of a type that it does not know.
func TestParamikoChannels(t *testing.T) {
	for _, reply := range []KeepaliveReply{KeepaliveFailure, KeepaliveIgnoreAll, KeepaliveAccept, KeepaliveLate, KeepaliveOnce} {
		t.Run(string(reply), func(t *testing.T) {
			t.Parallel()
			client := mustLogin(t, StartParamiko(t, ParamikoOptions{Reply: reply}).daemon)
			began := time.Now()
			for first := range 2 {
				answered := make(chan error, 1)
				go func() {
					_, _, err := client.OpenChannel("unknown@example.com", nil)
					answered <- err
				}()
				silent := reply == KeepaliveIgnoreAll || reply == KeepaliveOnce && first > 0
				patience := Patience
				if silent {
					patience = 200 * time.Millisecond
				}
				select {
				case err := <-answered:
					if _, refused := errors.AsType[*ssh.OpenChannelError](err); silent || refused == (reply == KeepaliveAccept) {
						t.Errorf("it answered: %v", err)
					}
				case <-time.After(patience):
					if !silent {
						t.Error("it does not answer")
					}
				}
			}
			if took := time.Since(began); reply == KeepaliveLate && took < 2*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestParamikoForward: a remote forward of it.
func TestParamikoForward(t *testing.T) {
	client := mustLogin(t, StartParamiko(t, ParamikoOptions{Reply: KeepaliveIgnore}).daemon)
	l, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	if got := readAll(t, c); got != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestTinySSH: it lets us in, forwards nothing, and answers a global request in
// the way that x/crypto does not take.
func TestTinySSH(t *testing.T) {
	d := StartTinySSH(t)
	client := mustLogin(t, d.daemon)
	_, err := client.Dial("tcp", serveTCP(t, echo))
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != ssh.Prohibited {
		t.Errorf("direct-tcpip: %v", err)
	}
	if d.Logins() != 1 || len(d.Sessions()) == 0 {
		t.Errorf("%d logins, sessions %v", d.Logins(), d.Sessions())
	}
	_, _, _ = client.SendRequest("keepalive@openssh.com", true, nil)
	if err := client.Wait(); err == nil || !strings.Contains(err.Error(), "unexpected message type 3") {
		t.Errorf("x/crypto has ended with %v", err)
	}
	d.Restart()
	mustLogin(t, d.daemon)
}
