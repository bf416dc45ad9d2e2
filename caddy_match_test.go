package sshtunnel

// caddy_match_test.go tests the listener wrapper's match in a running Caddy,
// in front of an SSH bastion.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// shared is one port for sites and for what is behind a bastion.
type shared struct {
	t       *testing.T
	address string
	ca      *sshtest.CA
	git     *sshtest.Web // behind the bastion, as git.example.com
	bastion *sshtest.Bastion
	config  string // a Caddyfile, with what the site says left out
}

// newShared does not start Caddy yet.
func newShared(t *testing.T) *shared {
	s := &shared{t: t, address: freeAddress(t), ca: sshtest.NewCA()}
	s.git = sshtest.NewWeb(t, sshtest.WebOptions{TLS: &tls.Config{Certificates: []tls.Certificate{s.ca.Issue("git.example.com")}}})
	b, tunnel := newTunnel(t, "prod", hosts{"git.internal:443": s.git.Addr()})
	s.bastion = b
	cert, key := sshtest.EncodePEM(s.ca.Issue("www.example.com"))
	s.config = fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	log {
		output discard
	}
	ssh_tunnel {
		%s
	}
	servers {
		listener_wrappers {
			ssh_tunnel prod git.internal:443 {
				match sni git.example.com
			}
			tls
		}
	}
}

https://www.example.com:%s {
	bind 127.0.0.1
	tls %s %s
	respond "%%s"
}
`, tunnel(b.Addr()), s.address[strings.LastIndex(s.address, ":")+1:], sshtest.WriteFile(t, "cert.pem", cert), sshtest.WriteFile(t, "key.pem", key))
	return s
}

// load runs Caddy with a site that says this, or has it do so from now on.
func (s *shared) load(says string) {
	s.t.Helper()
	config, err := caddytest.Adapt(fmt.Sprintf(s.config, says))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		s.t.Fatal(err)
	}
}

// stop ends Caddy, when everything else of a test has ended.
func (s *shared) stop() {
	if err := caddy.Stop(); err != nil {
		s.t.Error(err)
	}
}

// client speaks HTTP to whatever is behind a name on the port.
func (s *shared) client(h2 bool) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(h2)
	protocols.SetHTTP1(!h2)
	return &http.Client{Timeout: sshtest.Patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.address)
		},
		TLSClientConfig:   &tls.Config{RootCAs: s.ca.Pool()},
		Protocols:         protocols,
		DisableKeepAlives: !h2,
	}}
}

func (s *shared) get(client *http.Client, name, path string) (proto, cert, body string, err error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+name+path, nil)
	if err != nil {
		return "", "", "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", "", "", err
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	return res.Proto, res.TLS.PeerCertificates[0].DNSNames[0], string(all), err
}

// TestCaddySharesPort has one port serve a site and pass another name through,
// each with its own certificate.
func TestCaddySharesPort(t *testing.T) {
	s := newShared(t)
	s.load("the site")
	defer s.stop()

	for _, h2 := range []bool{false, true} {
		client, proto := s.client(h2), "HTTP/1.1"
		if h2 {
			proto = "HTTP/2.0"
		}
		if got, cert, body, err := s.get(client, "www.example.com", "/"); got != proto || cert != "www.example.com" || body != "the site" {
			t.Errorf("the site: got %s %q from %q (%v)", got, body, cert, err)
		}
		if got, cert, _, err := s.get(client, "git.example.com", "/headers"); got != proto || cert != "git.example.com" {
			t.Errorf("behind the bastion: got %s from %q (%v)", got, cert, err)
		}
		client.CloseIdleConnections()
	}

	// Caddy's own answer to what is no TLS.
	conn := caddytest.DialTCP(t, s.address)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusBadRequest {
		t.Errorf("over no TLS: got %v (%v)", res, err)
	}
	_ = conn.Close()
	if n := s.git.Accepted(); n != 2 {
		t.Errorf("%d connections came through the tunnel", n)
	}
}

// TestCaddySharesPortAmongMany mixes a thousand connections, some of which are
// up to no good.
func TestCaddySharesPortAmongMany(t *testing.T) {
	sshtest.Takes(t, 4*time.Second)
	s := newShared(t)
	s.load("the site")
	defer s.stop()
	hello := caddytest.HelloTo(t, "git.example.com")
	client := s.client(false)
	var clients sync.WaitGroup
	slots := make(chan struct{}, 40)
	for i := range 1000 {
		slots <- struct{}{}
		clients.Go(func() {
			defer func() { <-slots }()
			switch i % 4 {
			case 0, 1:
				name := []string{"www.example.com", "git.example.com"}[i%4]
				if _, cert, _, err := s.get(client, name, "/"); cert != name {
					t.Errorf("%s: got the certificate of %q (%v)", name, cert, err)
				}
			case 2:
				conn, err := net.Dial("tcp", s.address)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = conn.Write(hello[:i%len(hello)])
				_ = conn.Close()
			case 3: // stays
				_, _ = caddytest.DialTCP(t, s.address).Write(hello[:i%100])
			}
		})
	}
	clients.Wait()
	if n := s.git.Accepted(); n != 250 {
		t.Errorf("%d connections came through the tunnel", n)
	}
}

// TestCaddyReloadsWithinMatch reloads while clients are in the middle of their
// ClientHello. None of them notices, and nothing of the old configuration
// stays.
func TestCaddyReloadsWithinMatch(t *testing.T) {
	s := newShared(t)
	s.load("before")
	type half struct {
		*heldConn
		name string
		done chan error
		body string
	}
	var halves []*half
	for _, name := range []string{"www.example.com", "git.example.com", "www.example.com"} {
		h := &half{newHeldConn(caddytest.DialTCP(t, s.address)), name, make(chan error, 1), ""}
		halves = append(halves, h)
		go func() {
			conn := tls.Client(h.heldConn, &tls.Config{RootCAs: s.ca.Pool(), ServerName: h.name})
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", h.name)
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err == nil {
				var all []byte
				all, err = io.ReadAll(res.Body)
				h.body = string(all)
			}
			h.done <- err
		}()
		<-h.held
	}
	time.Sleep(100 * time.Millisecond) // they are accepted
	for range 3 {
		s.load("after")
	}
	client := s.client(false)
	// Caddy may drop a connection that is new at the moment of a reload.
	sshtest.Eventually(t, 5*time.Second, "a new connection is served", func() bool {
		_, _, body, err := s.get(client, "www.example.com", "/")
		if err == nil && body != "after" {
			t.Errorf("a new connection gets %q", body)
		}
		return err == nil
	})
	for _, h := range halves {
		close(h.free)
		if err := <-h.done; err != nil {
			t.Errorf("%s: %v", h.name, err)
		}
		if h.name == "www.example.com" && h.body != "after" {
			t.Errorf("the site says %q", h.body)
		}
	}
	if n := s.git.Accepted(); n != 1 {
		t.Errorf("%d connections came through the tunnel", n)
	}
	for _, left := range []int{1, 0} {
		sshtest.Eventually(t, 2*time.Second, "no goroutine of a former listener is left", func() bool {
			stacks := make([]byte, 4<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			return bytes.Count(stacks, []byte("(*matchingListener).acceptAll(")) == left && !bytes.Contains(stacks, []byte("(*matchingListener).match("))
		})
		if left == 1 {
			s.stop()
		}
	}
}

// heldConn sends the first half of what it is first given, and the rest only
// when it is set free.
type heldConn struct {
	net.Conn
	once sync.Once
	held chan struct{} // closed when the first half is sent
	free chan struct{} // closed when the rest may be
}

func newHeldConn(conn net.Conn) *heldConn {
	return &heldConn{Conn: conn, held: make(chan struct{}), free: make(chan struct{})}
}

func (c *heldConn) Write(p []byte) (n int, err error) {
	c.once.Do(func() {
		n, err = c.Conn.Write(p[:len(p)/2])
		close(c.held)
		<-c.free
	})
	if err != nil {
		return n, err
	}
	m, err := c.Conn.Write(p[n:])
	return n + m, err
}

// TestCaddyCertificates has Caddy put its certificate in front of a plain TCP
// service, for one name, while it serves a site by another.
func TestCaddyCertificates(t *testing.T) {
	ca := sshtest.NewCA()
	redis := caddytest.Loopback(t)
	// It returns when the listener is closed, and its connections with it.
	go func() {
		for {
			conn, err := redis.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					_, _ = io.WriteString(conn, "+"+strings.TrimSpace(line)+"\r\n")
				}
			}()
		}
	}()
	b, tunnel := newTunnel(t, "prod", hosts{"redis.internal:6379": redis.Addr().String()})
	address := freeAddress(t)
	port := address[strings.LastIndex(address, ":")+1:]
	cert, key := sshtest.EncodePEM(ca.Issue("redis.example.com", "www.example.com"))
	certFile, keyFile := sshtest.WriteFile(t, "cert.pem", cert), sshtest.WriteFile(t, "key.pem", key)

	for name, match := range map[string]string{"all": "", "by name": "{\nmatch sni redis.example.com\n}"} {
		t.Run(name, func(t *testing.T) {
			config, err := caddytest.Adapt(fmt.Sprintf("{\nadmin off\npersist_config off\nauto_https off\nlog {\noutput discard\n}\nssh_tunnel {\n%s\n}\nservers {\nlistener_wrappers {\nssh_tunnel prod redis.internal:6379 %s\n}\n}\n}\n"+
				"https://redis.example.com:%s, https://www.example.com:%s {\nbind 127.0.0.1\ntls %s %s\nrespond \"the site\"\n}\n", tunnel(b.Addr()), match, port, port, certFile, keyFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := caddy.Load(config, true); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = caddy.Stop() }()

			conn := tls.Client(caddytest.DialTCP(t, address), &tls.Config{RootCAs: ca.Pool(), ServerName: "redis.example.com"})
			_ = conn.SetDeadline(time.Now().Add(sshtest.Patience))
			if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 7)
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, []byte("+PING\r\n")) {
				t.Errorf("got %q (%v)", got, err)
			}
			if match == "" {
				return
			}
			for _, h2 := range []bool{false, true} {
				s := &shared{t: t, address: address, ca: ca}
				client := s.client(h2)
				proto, _, body, err := s.get(client, "www.example.com", "/")
				if body != "the site" || proto == "HTTP/2.0" != h2 {
					t.Errorf("the site says %q over %s (%v)", body, proto, err)
				}
				client.CloseIdleConnections()
			}
		})
	}
}
