package sshtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestBastionForwards(t *testing.T) {
	target := serveTCP(t, echo)
	b, client := keyBastion(t, BastionOptions{
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "web.internal:80" {
				return nil, fmt.Errorf("dialing %q, of which only the test knows", addr)
			}
			return new(net.Dialer).DialContext(ctx, network, target)
		},
	})
	c, err := client.Dial("tcp", "web.internal:80")
	if err != nil {
		t.Fatal(err)
	}
	if s := b.Stats(); s != (Stats{Connects: 1, Logins: 1, Opens: 1, Channels: 1}) {
		t.Errorf("stats %+v", s)
	}
	_, _ = io.WriteString(c, "hello")
	if err := c.(ssh.Channel).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	// The echo comes only if the half-close has kept the other half open, and
	// ends only if it was passed on.
	if got := readAll(t, c); got != "hello" {
		t.Errorf("got %q", got)
	}
	// Both directions have ended, so the bastion closes without our doing so.
	Eventually(t, Patience, "the channel's end", func() bool { return b.Stats().Channels == 0 })
	if opens := b.Opens(); len(opens) != 1 || opens[0] != (Open{"deploy", "tcp", "web.internal:80", "0.0.0.0:0"}) {
		t.Errorf("opens %+v", opens)
	}
}

func TestBastionTargetHalfCloses(t *testing.T) {
	got := make(chan string, 1)
	target := serveTCP(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.CloseWrite()
		b, _ := io.ReadAll(c)
		got <- string(b)
	})
	_, client := keyBastion(t, BastionOptions{})
	c, err := client.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	if s := readAll(t, c); s != "bye" {
		t.Errorf("got %q", s)
	}
	_, _ = io.WriteString(c, "still here")
	_ = c.(ssh.Channel).CloseWrite()
	select {
	case s := <-got:
		if s != "still here" {
			t.Errorf("the target got %q", s)
		}
	case <-time.After(Patience):
		t.Fatal("the target did not get the end of the stream")
	}
}

// A client that closes a channel with a target that says nothing leaves
// nothing behind.
func TestBastionClientCloses(t *testing.T) {
	gone := make(chan struct{})
	target := serveTCP(t, func(c *net.TCPConn) {
		_, _ = io.Copy(io.Discard, c)
		for { // a half-closed connection would take these
			if _, err := c.Write(make([]byte, 1)); err != nil {
				close(gone)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	b, client := keyBastion(t, BastionOptions{})
	c, err := client.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	Eventually(t, Patience, "the channel's end", func() bool { return b.Stats().Channels == 0 })
	select {
	case <-gone:
	case <-time.After(Patience):
		t.Error("the target's connection is still open")
	}
}

func TestBastionEndsTargetsWithTheConnection(t *testing.T) {
	ended := make(chan struct{})
	target := serveTCP(t, func(c *net.TCPConn) {
		for {
			if _, err := c.Write(make([]byte, 1024)); err != nil {
				close(ended)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	b, client := keyBastion(t, BastionOptions{})
	if _, err := client.Dial("tcp", target); err != nil {
		t.Fatal(err)
	}
	b.Kick()
	select {
	case <-ended:
	case <-time.After(Patience):
		t.Fatal("the target outlived the connection")
	}
	Eventually(t, Patience, "no connection", func() bool { return len(b.Conns()) == 0 })
}

func TestBastionStreamlocal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, "unix")
			_ = c.Close()
		}
	}()
	b, client := keyBastion(t, BastionOptions{})
	c, err := client.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, c); got != "unix" {
		t.Errorf("got %q", got)
	}
	if open := b.Opens()[0]; open.Network != "unix" || open.Address != path {
		t.Errorf("open %+v", open)
	}
}

func TestBastionRefusals(t *testing.T) {
	refused := serveTCP(t, echo)
	b, client := keyBastion(t, BastionOptions{
		PermitOpen: func(_, addr string) error {
			switch addr {
			case "forbidden:80":
				return errors.New("no")
			case "full:80":
				return &ssh.OpenChannelError{Reason: ssh.ResourceShortage, Message: "too many"}
			}
			return nil
		},
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			switch addr {
			case "unknown:80":
				return nil, &net.DNSError{IsNotFound: true}
			case "slow:80":
				return nil, context.DeadlineExceeded
			case "refused:80":
				l, _ := net.Listen("tcp", "127.0.0.1:0")
				_ = l.Close()
				addr = l.Addr().String()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	})
	for _, test := range []struct {
		network, addr string
		reason        ssh.RejectionReason
		message       string
	}{
		{"tcp", "forbidden:80", ssh.Prohibited, "open failed"},
		{"tcp", "full:80", ssh.ResourceShortage, "too many"},
		{"tcp", "unknown:80", ssh.ConnectionFailed, "Name or service not known"},
		{"tcp", "slow:80", ssh.ConnectionFailed, "Connection timed out"},
		{"tcp", "refused:80", ssh.ConnectionFailed, "Connection refused"},
		{"unix", "/nonexistent/socket", ssh.ConnectionFailed, "open failed"},
	} {
		_, err := client.Dial(test.network, test.addr)
		refusal, ok := errors.AsType[*ssh.OpenChannelError](err)
		if !ok || refusal.Reason != test.reason || refusal.Message != test.message {
			t.Errorf("%s: %v", test.addr, err)
		}
	}
	_, _, err := client.OpenChannel("x@example.com", nil)
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != ssh.UnknownChannelType {
		t.Errorf("unknown type: %v", err)
	}
	if _, err := client.NewSession(); err == nil {
		t.Error("got a session")
	}
	// A malformed open must be refused, too, and harm nothing.
	if _, _, err = client.OpenChannel("direct-tcpip", []byte{1}); err == nil {
		t.Error("a malformed open was accepted")
	}
	if c, err := client.Dial("tcp", refused); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
	Eventually(t, Patience, "no channel", func() bool { return b.Stats().Channels == 0 && b.Stats().Pending == 0 })
}

func TestBastionAuthentication(t *testing.T) {
	key, other, authority := NewKey(), NewKey(), NewKey()
	cert := func(c ssh.Certificate) ssh.AuthMethod {
		c.CertType = ssh.UserCert
		return ssh.PublicKeys(CertSigner(Certify(authority, other, c), other))
	}
	answer := func(answers ...string) ssh.AuthMethod {
		return ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			if len(questions) == 1 && (questions[0] != "Password: " || echos[0]) {
				return nil, fmt.Errorf("asked %q, echo %v", questions, echos)
			}
			return answers[:len(questions)], nil
		})
	}
	both := []string{"publickey,password", "publickey,keyboard-interactive"}
	for name, test := range map[string]struct {
		required []string
		offered  []ssh.AuthMethod
		ok       bool
	}{
		"key":               {nil, []ssh.AuthMethod{ssh.PublicKeys(key)}, true},
		"wrong key":         {nil, []ssh.AuthMethod{ssh.PublicKeys(other)}, false},
		"certificate":       {nil, []ssh.AuthMethod{cert(ssh.Certificate{ValidPrincipals: []string{"deploy"}})}, true},
		"other's":           {nil, []ssh.AuthMethod{cert(ssh.Certificate{ValidPrincipals: []string{"x"}})}, false},
		"expired":           {nil, []ssh.AuthMethod{cert(ssh.Certificate{ValidPrincipals: []string{"deploy"}, ValidBefore: 1})}, false},
		"password":          {nil, []ssh.AuthMethod{ssh.Password("secret")}, true},
		"wrong password":    {nil, []ssh.AuthMethod{ssh.Password("")}, false},
		"dialogue":          {[]string{"keyboard-interactive"}, []ssh.AuthMethod{answer("secret")}, true},
		"wrong answer":      {[]string{"keyboard-interactive"}, []ssh.AuthMethod{answer("x")}, false},
		"not asked for":     {[]string{"password"}, []ssh.AuthMethod{ssh.PublicKeys(key)}, false},
		"key, password":     {both, []ssh.AuthMethod{ssh.PublicKeys(key), ssh.Password("secret")}, true},
		"key, dialogue":     {both, []ssh.AuthMethod{ssh.PublicKeys(key), answer("secret")}, true},
		"key alone":         {both, []ssh.AuthMethod{ssh.PublicKeys(key)}, false},
		"password alone":    {both, []ssh.AuthMethod{ssh.Password("secret")}, false},
		"key, wrong answer": {both, []ssh.AuthMethod{ssh.PublicKeys(key), answer("x")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBastion(t, BastionOptions{
				User: "deploy", AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
				UserAuthorities: []ssh.PublicKey{authority.PublicKey()},
				Password:        "secret", AuthenticationMethods: test.required,
			})
			client, err := ssh.Dial("tcp", b.Addr(), clientConfig(b.HostKeyFingerprint(), test.offered...))
			if err == nil {
				_ = client.Close()
			}
			if (err == nil) != test.ok {
				t.Errorf("got %v, and the bastion %+v", err, b.Attempts())
			}
			if logins := b.Stats().Logins; (logins == 1) != test.ok {
				t.Errorf("%d logins", logins)
			}
		})
	}
}

func TestBastionRecordsAttempts(t *testing.T) {
	key, other := NewKey(), NewKey()
	b := NewBastion(t, BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	dial(t, b, "", ssh.PublicKeys(other, key))
	want := fmt.Sprint([]Attempt{
		{"deploy", "publickey", other.Fingerprint(), false},
		{"deploy", "publickey", key.Fingerprint(), true},
	})
	if got := fmt.Sprint(b.Attempts()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBastionUser(t *testing.T) {
	b := NewBastion(t, BastionOptions{User: "someone", Password: "secret"})
	if _, err := ssh.Dial("tcp", b.Addr(), clientConfig(b.HostKeyFingerprint(), ssh.Password("secret"))); err == nil {
		t.Error("the wrong user logged in")
	}
}

// As sshd, a bastion lets a certificate without permit-port-forwarding in, and
// then nowhere.
func TestBastionCertificateExtension(t *testing.T) {
	authority, key := NewKey(), NewKey()
	target := serveTCP(t, echo)
	b := NewBastion(t, BastionOptions{UserAuthorities: []ssh.PublicKey{authority.PublicKey()}})
	for _, extensions := range []map[string]string{nil, {"permit-port-forwarding": ""}} {
		cert := Certify(authority, key, ssh.Certificate{
			CertType: ssh.UserCert, ValidPrincipals: []string{"deploy"},
			Permissions: ssh.Permissions{Extensions: extensions},
		})
		client := dial(t, b, "", ssh.PublicKeys(CertSigner(cert, key)))
		_, err := client.Dial("tcp", target)
		if (err == nil) != (extensions != nil) {
			t.Errorf("with extensions %v: %v", extensions, err)
		}
	}
}

func TestBastionHostKeys(t *testing.T) {
	authority, key := NewKey(), NewECDSAKey()
	cert := Certify(authority, key, ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}})
	b := NewBastion(t, BastionOptions{HostKeys: []ssh.Signer{CertSigner(cert, key), key}, Password: "secret"})
	line := b.KnownHostsLine()
	if b.HostKeyFingerprint() != key.Fingerprint() || !strings.HasSuffix(line, key.AuthorizedKey()) {
		t.Errorf("fingerprint %s and line %q for key %s", b.HostKeyFingerprint(), line, key.Fingerprint())
	}
	connect := func(known string, algorithms ...string) error {
		check, err := knownhosts.New(WriteFile(t, "known_hosts", []byte(known+"\n")))
		if err != nil {
			t.Fatal(err)
		}
		config := clientConfig("", ssh.Password("secret"))
		config.HostKeyCallback, config.HostKeyAlgorithms = check, algorithms
		client, err := ssh.Dial("tcp", b.Addr(), config)
		if err == nil {
			_ = client.Close()
		}
		return err
	}
	if err := connect(line, ssh.KeyAlgoECDSA256); err != nil {
		t.Errorf("with the key known: %v", err)
	}
	ca := "@cert-authority " + knownhosts.Normalize(b.Addr()) + " " + authority.AuthorizedKey()
	if err := connect(ca, ssh.CertAlgoECDSA256v01); err != nil {
		t.Errorf("with the authority known: %v", err)
	}
	b.SetHostKeys(NewECDSAKey())
	if err := connect(line, ssh.KeyAlgoECDSA256); err == nil {
		t.Error("the host key did not change")
	}
}

func TestBastionCloseIsIdempotent(t *testing.T) {
	b, client := keyBastion(t, BastionOptions{})
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	_ = client.Wait() // returns only if the connection has ended
	if _, err := net.Dial("tcp", b.Addr()); err == nil {
		t.Error("it still listens")
	}
}

func TestBastionOptionErrors(t *testing.T) {
	for _, opts := range []BastionOptions{
		{AuthenticationMethods: []string{"publickey,smoke"}},
		{Listen: "nowhere"},
	} {
		if b, err := ListenBastion(opts); err == nil {
			_ = b.Close()
			t.Errorf("%+v was accepted", opts)
		}
	}
}
