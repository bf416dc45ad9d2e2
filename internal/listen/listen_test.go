package listen

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/forward"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestListenSocket: what is in the way of a socket is removed only if it is one
// that nobody listens on.
func TestListenSocket(t *testing.T) {
	path := sshtest.SocketPath(t)
	a, err := hostport.ParseListen("unix/"+path, hostport.Here)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenAt(a); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got error %v", err)
	}
	if got, err := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file is %q (%v)", got, err)
	}
	_ = os.Remove(path)

	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := listenAt(a); err == nil || !strings.Contains(err.Error(), "another process listens on it") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	_ = other.Close() // which removes it

	// Connecting to one fails that is of another kind, and in use.
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	if _, err := listenAt(a); err == nil || !strings.Contains(err.Error(), "it cannot be determined whether it is in use") {
		t.Errorf("got error %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestStatusWhileListening: while the name of an address is looked up, or a socket
// tried, the status of others does not wait, nor that of this one.
func TestStatusWhileListening(t *testing.T) {
	resolver, asked, answer := net.DefaultResolver, make(chan struct{}, 10), make(chan struct{})
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked <- struct{}{}
		<-answer
		return nil, errors.New("no name server")
	}}
	t.Cleanup(func() { net.DefaultResolver = resolver })
	a, err := hostport.ParseListen("name.example.com:80", hostport.Here)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		_, err := Open(a, new(forward.Forwarder))
		opened <- err
	}()
	<-asked
	told := make(chan bool)
	go func() {
		listening, _ := Status(a)
		told <- listening
	}()
	select {
	case listening := <-told:
		if listening {
			t.Error("it listens already")
		}
	case <-time.After(time.Minute):
		t.Error("the status waits")
	}
	close(answer)
	if err := <-opened; err == nil {
		t.Error("it listens")
	}
}
