package sshauth

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// authServer is an SSH server that lets in, or does not.
type authServer struct{ cfg *ssh.ServerConfig }

func newAuthServer(t testing.TB, edit func(*ssh.ServerConfig)) *authServer {
	t.Helper()
	cfg := &ssh.ServerConfig{}
	edit(cfg)
	return &authServer{cfg}
}

// connect connects and disconnects. It returns the handshake's error as the
// tunnel's connect reports it.
func (s *authServer) connect(t testing.TB, a *Authenticator) error {
	t.Helper()
	defer a.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() { // returns when the connection has ended
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sc, channels, requests, err := ssh.NewServerConn(conn, s.cfg)
		if err == nil {
			drain(&wg, channels, requests)
			_ = sc.Wait()
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cc := &ssh.ClientConfig{Config: a.cfg.CryptoConfig(), HostKeyCallback: ssh.FixedHostKey(sshtest.PublicOf(t, sshtest.EdKey(200)))}
	a.Apply(cc)
	sc, channels, requests, err := ssh.NewClientConn(conn, "b.example:22", cc)
	if err != nil {
		return a.Explain(err)
	}
	drain(&wg, channels, requests)
	return sc.Close()
}

// drain serves a connection's channels, which end with it.
func drain(wg *sync.WaitGroup, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	wg.Go(func() { ssh.DiscardRequests(requests) })
	wg.Go(func() {
		for c := range channels {
			_ = c.Reject(ssh.Prohibited, "")
		}
	})
}

// guard is what an authServer demands, and what it was shown. It is the
// connection's until connect returns.
type guard struct {
	keys     []ssh.PublicKey // accepted; a certificate counts by its key
	password string
	prompts  []string // of one keyboard-interactive round each; "" has none
	silent   bool     // no answer is right
	then     string   // the method that is demanded besides: a partial success
	maxTries int
	algos    []string

	offered   []string // SHA256:…, "certificate " in front
	passwords int
	answers   []string
}

func (g *guard) server(t testing.TB) *authServer {
	return newAuthServer(t, func(c *ssh.ServerConfig) {
		c.AddHostKey(sshtest.SignerFor(t, sshtest.EdKey(200)))
		c.MaxAuthTries = g.maxTries
		c.PublicKeyAuthAlgorithms = g.algos
		callbacks := ssh.ServerAuthCallbacks{}
		if g.keys != nil {
			callbacks.PublicKeyCallback = g.publicKey
		}
		if g.password != "" {
			callbacks.PasswordCallback = g.passwordMethod
		}
		if g.prompts != nil {
			callbacks.KeyboardInteractiveCallback = g.dialogue
		}
		switch {
		case g.then == "":
			c.PublicKeyCallback, c.PasswordCallback, c.KeyboardInteractiveCallback = callbacks.PublicKeyCallback, callbacks.PasswordCallback, callbacks.KeyboardInteractiveCallback
			return
		case strings.HasPrefix(g.then, "password "):
			c.PasswordCallback = func(m ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
				if _, err := g.passwordMethod(m, p); err != nil {
					return nil, err
				}
				return nil, &ssh.PartialSuccessError{Next: only(callbacks, strings.TrimPrefix(g.then, "password "))}
			}
			return
		}
		c.PublicKeyCallback = func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if _, err := g.publicKey(m, key); err != nil {
				return nil, err
			}
			return nil, &ssh.PartialSuccessError{Next: only(callbacks, g.then)}
		}
	})
}

func only(c ssh.ServerAuthCallbacks, method string) ssh.ServerAuthCallbacks {
	switch method {
	case "publickey":
		return ssh.ServerAuthCallbacks{PublicKeyCallback: c.PublicKeyCallback}
	case "password":
		return ssh.ServerAuthCallbacks{PasswordCallback: c.PasswordCallback}
	default:
		return ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: c.KeyboardInteractiveCallback}
	}
}

var errNo = errors.New("no")

func (g *guard) publicKey(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	name := ssh.FingerprintSHA256(algorithms.PlainKey(key))
	if _, ok := key.(*ssh.Certificate); ok {
		name = "certificate " + name
	}
	if !slices.Contains(g.offered, name) {
		g.offered = append(g.offered, name)
	}
	if slices.ContainsFunc(g.keys, func(k ssh.PublicKey) bool { return algorithms.SameKey(k, algorithms.PlainKey(key)) }) {
		return nil, nil
	}
	return nil, errNo
}

func (g *guard) passwordMethod(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
	g.passwords++
	if string(p) == g.password {
		return nil, nil
	}
	return nil, errNo
}

func (g *guard) dialogue(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	for _, prompt := range g.prompts {
		var questions []string
		if prompt != "" {
			questions = strings.Split(prompt, "|")
		}
		answers, err := ask("", "", questions, make([]bool, len(questions)))
		if err != nil {
			return nil, err
		}
		g.answers = append(g.answers, answers...)
	}
	if slices.Equal(g.answers, []string{"right"}) || g.silent && len(g.answers) == 0 {
		return nil, nil
	}
	return nil, errNo
}

// authFor returns an authenticator for cfg.
func authFor(t testing.TB, cfg *Config) *Authenticator {
	t.Helper()
	cfg.User, cfg.Names = "deploy", []string{"b.example", "b", ""}
	return New(cfg, nil, zap.NewNop())
}

// logIn logs in to a server and disconnects. What it returns has said how it went to
// memory, which may be nil.
func logIn(t testing.TB, cfg *Config, memory *Memory, addr string) (*Authenticator, error) {
	t.Helper()
	a := New(cfg, memory, zap.NewNop())
	defer a.Close()
	cc := &ssh.ClientConfig{Config: cfg.CryptoConfig(), HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // it is the tests' own server
	a.Apply(cc)
	client, err := ssh.Dial("tcp", addr, cc)
	a.Learn(err == nil)
	if err != nil {
		return a, a.Explain(err)
	}
	return a, client.Close()
}

// causeOf is that of an *AuthError.
func causeOf(err error) failure.Cause {
	if refused, ok := errors.AsType[*failure.AuthError](err); ok {
		return refused.Cause
	}
	return ""
}
