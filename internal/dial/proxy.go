package dial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/proxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// maxProxyHeader bounds what a proxy may say before it has connected.
const maxProxyHeader = 16 << 10

// Proxy is what a bastion is reached through that is not a bastion itself. It
// resolves the bastion's name.
type Proxy struct {
	// Scheme is "socks5" (RFC 1928) or "http" (CONNECT, RFC 9110 section 9.3.6).
	Scheme string

	// Address is the proxy's "host:port".
	Address string

	// User and Password log in to the proxy: secrets (see Dialer.Secret). If
	// User is "", neither is sent.
	User, Password string
}

// String returns the proxy's URL without the user info.
func (p *Proxy) String() string { return p.Scheme + "://" + p.Address }

// dialProxy connects to the server through the proxy. The connection that it
// returns is the TCP connection to the proxy itself, past all that the proxy has
// to say, so that its socket's options can be set.
func (d *Dialer) dialProxy(ctx context.Context) (net.Conn, error) {
	p := d.Proxy
	user, password, err := d.ProxyLogin()
	if err != nil {
		return nil, err
	}
	conn, err := d.dialTCP(ctx, p.Address)
	if err != nil {
		return nil, &ProxyError{p, "no answer", err}
	}
	connect := connectHTTP
	if p.Scheme == "socks5" {
		connect = connectSOCKS5
	}
	if err := connect(ctx, conn, d.Address, user, password); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &ProxyError{p, "it accepted the connection, but did not answer", err}
	}
	return conn, nil
}

// ProxyError is why a proxy did not connect us. silence is what to say of it if the
// time is over.
type ProxyError struct {
	proxy   *Proxy
	silence string
	err     error
}

func (e *ProxyError) Error() string { return fmt.Sprintf("proxy %s: %v", e.proxy, e.err) }
func (e *ProxyError) Unwrap() error { return e.err }

// NoAnswer says what did not answer, of an attempt to reach a bastion that took too
// long.
func NoAnswer(err error) string {
	if p, ok := errors.AsType[*ProxyError](err); ok {
		return fmt.Sprintf("proxy %s: %s", p.proxy, p.silence)
	}
	return "no answer"
}

// ProxyLogin resolves the user info.
func (d *Dialer) ProxyLogin() (user, password string, err error) {
	p := d.Proxy
	if p.User == "" {
		return "", "", nil
	}
	if user, err = d.Secret("user of proxy "+p.String(), p.User); err != nil {
		return "", "", err
	}
	if p.Password != "" {
		password, err = d.Secret("password of proxy "+p.String(), p.Password)
	}
	return user, password, err
}

// connectSOCKS5 has a SOCKS5 server connect to the target.
func connectSOCKS5(ctx context.Context, conn net.Conn, target, user, password string) error {
	var auth *proxy.Auth
	if user != "" {
		auth = &proxy.Auth{User: user, Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", conn.RemoteAddr().String(), auth, connected{conn})
	if err != nil {
		return err
	}
	// What it returns wraps conn, to no purpose of ours.
	_, err = dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", target)
	if errors.Is(err, os.ErrDeadlineExceeded) { // which is ctx's
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "socks connect" {
		err = op.Err // without the addresses, which the caller has
	}
	if err == nil {
		return nil
	}
	why, noMethod := strings.TrimPrefix(err.Error(), "unknown error "), "no acceptable authentication methods"
	switch {
	case user == "" && strings.Contains(why, noMethod):
		return proxyRefusal("it wants a login; write user info, as in socks5://{env.PROXY_USER}:{env.PROXY_PASSWORD}@host:port")
	case strings.Contains(why, noMethod):
		return proxyRefusal("it takes no user and password, and wants another login, such as GSSAPI; only user and password are supported")
	case strings.Contains(why, "authentication"):
		return proxyRefusal("the login was refused (%s); check the user info", why)
	case strings.Contains(why, "unexpected protocol version 72"): // the H of HTTP
		return proxyRefusal("it answers as an HTTP proxy; write http:// in place of socks5://")
	}
	return fmt.Errorf("SOCKS5 connect: %s", why)
}

// proxyRefusal is the error of a proxy that does not change its mind by itself.
func proxyRefusal(format string, args ...any) error {
	return failure.New(failure.ClassProtocol, failure.CauseProxy, fmt.Errorf(format, args...))
}

// connected is a dialer to where it is connected already.
type connected struct{ conn net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.conn, nil }

func (c connected) DialContext(context.Context, string, string) (net.Conn, error) {
	return c.conn, nil
}

// connectHTTP has an HTTP proxy connect to the target. Not one byte is read
// beyond its answer: the bastion speaks first.
func connectHTTP(ctx context.Context, conn net.Conn, target, user, password string) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	login := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if user != "" {
		request += "Proxy-Authorization: Basic " + login + "\r\n"
	}
	shown := func(text string) string { return printable.Text(printable.Conceal(text, login, password, user)) }
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		return err
	}
	for {
		header, err := readProxyHeader(conn)
		if err != nil {
			return fmt.Errorf("reading the answer to CONNECT: %w", err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(header)), &http.Request{Method: http.MethodConnect})
		if err != nil {
			return fmt.Errorf("the answer to CONNECT is not HTTP: %q", shown(string(header)))
		}
		_ = answer.Body.Close() // there is none in header
		switch status := answer.StatusCode; {
		case status >= 200 && status < 300:
			if !stop() {
				return context.Cause(ctx)
			}
			return nil
		case status >= 100 && status < 200:
			continue // the answer is still to come
		case wantsLogin(status):
			return loginRefusal(answer, user, shown)
		case status == http.StatusForbidden || status == http.StatusMethodNotAllowed:
			return fmt.Errorf("it answered CONNECT with %q; allow CONNECT to that port there", shown(answer.Status))
		case status >= 300 && status < 400:
			return fmt.Errorf("it answered CONNECT with %q, and leads to a page of its own; log in there with a browser on this machine, or let it pass SSH to %q", shown(answer.Status), target)
		default:
			return fmt.Errorf("it answered CONNECT with %q", shown(answer.Status))
		}
	}
}

// loginRefusal says which login a proxy wants.
func loginRefusal(answer *http.Response, user string, shown func(string) string) error {
	schemes := authSchemes(slices.Concat(answer.Header.Values("Proxy-Authenticate"), answer.Header.Values("WWW-Authenticate")))
	takesBasic := slices.ContainsFunc(schemes, func(s string) bool { return strings.EqualFold(s, "Basic") })
	switch status := shown(answer.Status); {
	case len(schemes) > 0 && !takesBasic:
		return proxyRefusal("it answered CONNECT with %q and wants a login by %s, but only Basic is supported; "+
			"enable Basic there, run a proxy such as cntlm that logs in for Caddy, or use proxy_command", status, shown(strings.Join(schemes, " or ")))
	case user == "":
		return proxyRefusal("it answered CONNECT with %q; write user info, as in http://{env.PROXY_USER}:{env.PROXY_PASSWORD}@host:port", status)
	default:
		return proxyRefusal("it answered CONNECT with %q; check the user info", status)
	}
}

// authSchemes returns the schemes of challenges (RFC 9110 section 11.6.1), as in
// "Digest" and "NTLM". A header may have several, with parameters.
func authSchemes(headers []string) (schemes []string) {
	for _, header := range headers {
		inQuotes := false
		parts := strings.FieldsFunc(header, func(r rune) bool {
			inQuotes = inQuotes != (r == '"')
			return r == ',' && !inQuotes
		})
		for _, part := range parts {
			words := strings.Fields(part)
			if len(words) > 0 && !strings.Contains(words[0], "=") && !slices.Contains(schemes, words[0]) {
				schemes = append(schemes, words[0])
			}
		}
	}
	return schemes
}

// wantsLogin reports whether a proxy wants another login, or any: tinyproxy says
// 401 to a wrong one.
func wantsLogin(status int) bool {
	return status == http.StatusProxyAuthRequired || status == http.StatusUnauthorized
}

// readProxyHeader reads up to the empty line that ends a header, byte by byte:
// what follows is not ours to read.
func readProxyHeader(conn net.Conn) ([]byte, error) {
	header := make([]byte, 0, 256)
	for len(header) < maxProxyHeader {
		var b [1]byte
		if _, err := conn.Read(b[:]); err != nil {
			return nil, err
		}
		header = append(header, b[0])
		if bytes.HasSuffix(header, []byte("\r\n\r\n")) || bytes.HasSuffix(header, []byte("\n\n")) {
			return header, nil
		}
	}
	return nil, fmt.Errorf("its header is longer than %d bytes", maxProxyHeader)
}
