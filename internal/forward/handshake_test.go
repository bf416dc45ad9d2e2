package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestSlowCertificate: a site's certificate may have to be obtained when a client
// comes, which waits for it for a while, and it is not given up with the client.
func TestSlowCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration
		fails bool
	}{
		"soon enough": {takes: 30 * time.Second},
		"too late":    {takes: 2 * time.Minute, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := sshtest.NewCA()
				cert := ca.Issue("front.test")
				obtained := false
				// A pipe has no buffer for session tickets, which a server writes before it
				// reads on.
				config := &tls.Config{SessionTicketsDisabled: true, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
					select {
					case <-time.After(tt.takes):
						obtained = true
						return &cert, nil
					case <-hello.Context().Done():
						return nil, hello.Context().Err()
					}
				}}
				near, far := net.Pipe()
				f := &Forwarder{Dial: func(context.Context, net.Conn) (net.Conn, error) {
					ours, theirs := net.Pipe()
					_ = theirs.Close()
					return ours, nil
				}}
				ended := make(chan struct{})
				go func() {
					f.Forward(tls.Server(near, config))
					close(ended)
				}()
				err := tls.Client(far, &tls.Config{RootCAs: ca.Pool(), ServerName: "front.test"}).Handshake()
				_ = far.Close()
				<-ended
				if (err != nil) != tt.fails || !obtained {
					t.Errorf("the handshake ended with %v; obtained: %t", err, obtained)
				}
			})
		})
	}
}

// TestTrackedTLS: a client of TLS whose connection is ended before its time is not
// sure that it has got everything.
func TestTrackedTLS(t *testing.T) {
	ca, target, front := sshtest.NewCA(), listen(t), listen(t)
	tracked := make(chan io.Closer, 1)
	f := &Forwarder{Dial: dialTo(target), Track: func(conn io.Closer) func() {
		tracked <- conn
		return func() {}
	}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn := accept(t, front)
		f.Forward(tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{ca.Issue("front.test")}}))
	}()
	client := tls.Client(connect(t, front.Addr().String()), &tls.Config{RootCAs: ca.Pool(), ServerName: "front.test"})
	say(t, client, "hello")
	hear(t, accept(t, target), "hello")
	if err := (<-tracked).Close(); err != nil {
		t.Error(err)
	}
	if n, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %d bytes, %v", n, err)
	}
	<-ended
}
