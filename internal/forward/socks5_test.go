package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/proxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/permit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

const (
	noAuth    = "\x05\x01\x00"
	connectIP = "\x05\x01\x00\x01\x0a\x00\x00\x05\x00\x50" // 10.0.0.5:80
)

// talk has a client say something to a SOCKS server, and hang up. It returns
// what the server answers, the address that it dialed, if any, and its error.
func talk(t *testing.T, s *SOCKS5, say string) (answer, dialed string, err error) {
	t.Helper()
	client, server := net.Pipe()
	answers := make(chan string)
	go func() {
		all, _ := io.ReadAll(client)
		answers <- string(all)
	}()
	go func() {
		_, _ = io.WriteString(client, say) // fails once the server has heard enough
	}()
	dial := s.Dial
	s = &SOCKS5{Users: s.Users, Dial: func(ctx context.Context, client net.Conn, address string) (net.Conn, error) {
		dialed = address
		if dial != nil {
			return dial(ctx, client, address)
		}
		conn, _ := net.Pipe()
		return conn, nil
	}}
	_, err = s.Connect(t.Context(), server)
	_ = server.Close()
	return <-answers, dialed, err
}

func TestSOCKS5(t *testing.T) {
	const succeeded = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
	failed := func(code byte) string { return "\x05" + string(code) + "\x00\x01\x00\x00\x00\x00\x00\x00" }
	users := map[string]string{"alice": "secret", "bob": "other"}
	login := func(user, password string) string {
		return "\x05\x02\x00\x02" + "\x01" + string(rune(len(user))) + user + string(rune(len(password))) + password
	}
	for _, tt := range []struct {
		name           string
		users          map[string]string
		say            string
		answer, dialed string
		err            string
	}{
		{name: "IPv4", say: noAuth + connectIP, answer: "\x05\x00" + succeeded, dialed: "10.0.0.5:80"},
		{name: "IPv6", say: noAuth + "\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x01\xbb", answer: "\x05\x00" + succeeded, dialed: "[2001:db8::1]:443"},
		{name: "IPv4 in IPv6", say: noAuth + "\x05\x01\x00\x04" + strings.Repeat("\x00", 10) + "\xff\xff\x0a\x00\x00\x05\x00\x50", answer: "\x05\x00" + succeeded, dialed: "10.0.0.5:80"},
		{name: "name", say: noAuth + "\x05\x01\x00\x03\x0cWeb.internal\x1f\x90", answer: "\x05\x00" + succeeded, dialed: "Web.internal:8080"},
		{name: "IPv6 as a name", say: noAuth + "\x05\x01\x00\x03\x03::1\x00\x50", answer: "\x05\x00" + succeeded, dialed: "[::1]:80"},

		{name: "one of several methods", say: "\x05\x03\x01\x02\x00" + connectIP, answer: "\x05\x00" + succeeded, dialed: "10.0.0.5:80"},
		{name: "no methods", say: "\x05\x00", answer: "\x05\xff", err: "no user is configured"},
		{name: "only a password", say: "\x05\x01\x02", answer: "\x05\xff", err: "no user is configured"},
		{name: "password", users: users, say: login("alice", "secret") + connectIP, answer: "\x05\x02\x01\x00" + succeeded, dialed: "10.0.0.5:80"},
		{name: "second user", users: users, say: login("bob", "other") + connectIP, answer: "\x05\x02\x01\x00" + succeeded, dialed: "10.0.0.5:80"},
		{name: "wrong password", users: users, say: login("alice", "other") + connectIP, answer: "\x05\x02\x01\x01", err: "wrong user or password"},
		{name: "wrong user", users: users, say: login("carol", "secret") + connectIP, answer: "\x05\x02\x01\x01", err: "wrong user or password"},
		{name: "empty user", users: users, say: login("", "") + connectIP, answer: "\x05\x02\x01\x01", err: "wrong user or password"},
		{name: "user missing", users: users, say: noAuth + connectIP, answer: "\x05\xff", err: "offers no user and password"},
		{name: "other authentication", users: users, say: "\x05\x01\x02\x02", answer: "\x05\x02", err: "version 2 of authentication"},

		{name: "BIND", say: noAuth + "\x05\x02\x00\x01\x0a\x00\x00\x05\x00\x50", answer: "\x05\x00" + failed(7), err: "command 2 is not supported"},
		{name: "UDP", say: noAuth + "\x05\x03\x00\x01\x0a\x00\x00\x05\x00\x50", answer: "\x05\x00" + failed(7), err: "command 3 is not supported"},
		{name: "type of address", say: noAuth + "\x05\x01\x00\x02", answer: "\x05\x00" + failed(8), err: "type of address 2"},
		{name: "version of request", say: noAuth + "\x04\x01\x00\x01", answer: "\x05\x00" + failed(1), err: "its version is 4"},
		{name: "empty name", say: noAuth + "\x05\x01\x00\x03\x00\x00\x50", answer: "\x05\x00" + failed(1), err: `"" is not a host`},
		{name: "line break in name", say: noAuth + "\x05\x01\x00\x03\x03a\nb\x00\x50", answer: "\x05\x00" + failed(1), err: `"a\nb" is not a host`},

		{name: "SOCKS4", say: "\x04\x01\x00\x50\x0a\x00\x00\x05\x00", answer: "\x00\x5b\x00\x00\x00\x00\x00\x00", err: "the client speaks version 4; use version 5"},
		{name: "HTTP", say: "GET / HTTP/1.1\r\n\r\n", err: "the client speaks something else: its first byte is 0x47"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, dialed, err := talk(t, &SOCKS5{Users: tt.users}, tt.say)
			if answer != tt.answer || dialed != tt.dialed {
				t.Errorf("answered %q and dialed %q, want %q and %q", answer, dialed, tt.answer, tt.dialed)
			}
			if told := new(ToldError); tt.err == "" && err != nil || tt.err != "" && (!errors.As(err, &told) || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

// TestSOCKS5Codes: failed dials, in SOCKS's terms.
func TestSOCKS5Codes(t *testing.T) {
	for _, tt := range []struct {
		err  error
		code byte
	}{
		{permit.Deny("prod", "tcp", "web:80"), 2},
		{&tunnel.OpenError{Reason: tunnel.OpenProhibited}, 2},
		{&tunnel.OpenError{Reason: tunnel.OpenUnreachable}, 4},
		{&tunnel.OpenError{Reason: tunnel.OpenUnknownName}, 4},
		{&tunnel.OpenError{Reason: tunnel.OpenTimedOut}, 4},
		{&tunnel.OpenError{Reason: tunnel.OpenRefused}, 5},
		{&tunnel.OpenError{Reason: tunnel.OpenFailed}, 1},
		{&tunnel.TimeoutError{Cause: context.DeadlineExceeded}, 4},
		{&tunnel.DownError{Cause: errors.New("no route to host")}, 1},
		{&tunnel.DownError{Cause: &tunnel.OpenError{Reason: tunnel.OpenRefused}}, 1}, // of a jump
		{errors.New("whatever"), 1},
	} {
		answer, _, err := talk(t, &SOCKS5{Dial: func(context.Context, net.Conn, string) (net.Conn, error) {
			return nil, fmt.Errorf("dialing: %w", tt.err)
		}}, noAuth+connectIP)
		if want := "\x05\x00\x05" + string(tt.code) + "\x00\x01\x00\x00\x00\x00\x00\x00"; answer != want || !errors.Is(err, tt.err) {
			t.Errorf("%v: answered %q (%v), want %q", tt.err, answer, err, want)
		}
	}
}

// TestSOCKS5Slow: clients that say nothing, or stop in the middle, do not stay.
func TestSOCKS5Slow(t *testing.T) {
	for _, said := range []string{"", "\x05", "\x05\x05\x00", noAuth, noAuth + "\x05\x01\x00\x03\xffabc"} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, client) }()
			go func() {
				for _, c := range []byte(said) {
					time.Sleep(time.Second)
					if _, err := client.Write([]byte{c}); err != nil {
						return
					}
				}
			}()
			start := time.Now()
			_, err := (&SOCKS5{}).Connect(t.Context(), server)
			if took := time.Since(start); took != socksTimeout || err == nil {
				t.Errorf("%q: took %s (%v)", said, took, err)
			}
			_ = server.Close()
			time.Sleep(time.Second) // for the one that writes
		})
	}
}

// TestSOCKS5Forward uses a client that others have written, whose first words
// to the target come along with its request, and which ends one direction.
func TestSOCKS5Forward(t *testing.T) {
	target := listen(t)
	socks := &SOCKS5{
		Users: map[string]string{"alice": "secret"},
		Dial: func(ctx context.Context, client net.Conn, address string) (net.Conn, error) {
			if address != "web.internal:80" {
				return nil, &tunnel.OpenError{Reason: tunnel.OpenRefused}
			}
			return dialTo(target)(ctx, client)
		},
	}
	logger, logs := observe()
	address := serve(t, &Forwarder{Dial: socks.Connect, DialTimeout: socks.DialTimeout(), Logger: logger})
	dialer, err := proxy.SOCKS5("tcp", address, &proxy.Auth{User: "alice", Password: "secret"}, proxy.Direct)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dialer.Dial("tcp", "web.internal:80")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	upstream := accept(t, target)
	say(t, client, "hello")
	hear(t, upstream, "hello")
	say(t, upstream, "bye")
	_ = upstream.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(client); string(got) != "bye" || err != nil {
		t.Errorf("got %q (%v)", got, err)
	}
	say(t, client, "still there")
	hear(t, upstream, "still there")
	if opened := logs.FilterMessage("connection opened").All(); len(opened) != 1 || opened[0].ContextMap()["target"] != target.Addr().String() {
		t.Errorf("logged %v", opened)
	}

	if _, err := dialer.Dial("tcp", "db.internal:80"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got error %v", err)
	}

	early := connect(t, address)
	say(t, early, "\x05\x01\x02\x01\x05alice\x06secret\x05\x01\x00\x03\x0cweb.internal\x00\x50GET /")
	hear(t, accept(t, target), "GET /")
}

// FuzzSOCKS5: whatever a client says, it ends, and what is dialed is an address.
func FuzzSOCKS5(f *testing.F) {
	f.Add([]byte(noAuth + connectIP))
	f.Add([]byte(noAuth + "\x05\x01\x00\x03\x0cWeb.internal\x1f\x90"))
	f.Add([]byte("\x05\x01\x02\x01\x05alice\x06secret"))
	f.Add([]byte("\x04\x01"))
	f.Fuzz(func(t *testing.T, said []byte) {
		conn := &saidConn{Reader: bytes.NewReader(said)}
		_, err := (&SOCKS5{Dial: func(_ context.Context, _ net.Conn, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil || host == "" || strings.ContainsAny(host, " \r\n\x00") {
				t.Errorf("dialed %q (%v)", address, err)
			}
			return nil, io.EOF
		}}).Connect(t.Context(), conn)
		if err == nil {
			t.Error("connected")
		}
	})
}

// saidConn is a client that has said all it will.
type saidConn struct {
	net.Conn
	*bytes.Reader
}

func (c *saidConn) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c *saidConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *saidConn) SetDeadline(time.Time) error { return nil }
