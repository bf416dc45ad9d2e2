//go:build unix

package sshtest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// login logs in to a real server by its files alone, as a user would.
func login(t *testing.T, d *daemon) (*ssh.Client, error) {
	t.Helper()
	content, err := os.ReadFile(d.ClientKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePrivateKey(content)
	if err != nil {
		t.Fatal(err)
	}
	check, err := knownhosts.New(d.KnownHostsFile())
	if err != nil {
		t.Fatal(err)
	}
	client, err := ssh.Dial("tcp", d.Addr(), &ssh.ClientConfig{
		User: d.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: check,
		HostKeyAlgorithms: []string{d.HostKey.PublicKey().Type()},
	})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

func mustLogin(t *testing.T, d *daemon) *ssh.Client {
	t.Helper()
	client, err := login(t, d)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// exercise does to a real server all that a daemon can.
func exercise(t *testing.T, d *daemon) {
	target := serveTCP(t, echo)
	client := mustLogin(t, d)
	c, err := client.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "hello")
	_ = c.(ssh.Channel).CloseWrite()
	if got := readAll(t, c); got != "hello" {
		t.Errorf("got %q", got)
	}
	if d.Logins() != 1 || len(d.Sessions()) == 0 {
		t.Errorf("%d logins, sessions %v", d.Logins(), d.Sessions())
	}

	// Paused, it answers nothing, and then everything.
	d.Pause()
	answered := make(chan error, 1)
	go func() {
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("a paused server answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	d.Continue()
	if err := <-answered; err != nil {
		t.Error(err)
	}

	d.KillSessions(syscall.SIGKILL)
	if !within(Patience, func() { _ = client.Wait() }) {
		t.Error("the session lives on")
	}
	client = mustLogin(t, d) // the listener does, too
	port := d.Port
	d.Stop()
	if !within(Patience, func() { _ = client.Wait() }) {
		t.Error("the session outlives the server")
	}
	if _, err := net.Dial("tcp", d.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("stopped: %v", err)
	}
	d.Restart()
	mustLogin(t, d)
	if d.Port != port || d.Logins() != 3 {
		t.Errorf("port %d, was %d; %d logins", d.Port, port, d.Logins())
	}
}

func TestSSHD(t *testing.T) {
	exercise(t, StartSSHD(t, SSHDOptions{}).daemon)
}

func TestDropbear(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(home, ".ssh", "authorized_keys")
	before, _ := os.ReadFile(keys)
	exercise(t, StartDropbear(t, DropbearOptions{}).daemon)
	if after, _ := os.ReadFile(keys); !bytes.Equal(before, after) {
		t.Errorf("%s has changed", keys)
	}
}

func TestSSHDOptions(t *testing.T) {
	authority, key, another := NewKey(), NewECDSAKey(), NewKey()
	d := StartSSHD(t, SSHDOptions{
		Config:          "LogLevel DEBUG1\nMatch LocalAddress 127.0.0.1\n  PermitOpen 127.0.0.1:1",
		AuthorizedKeys:  []string{"restrict " + another.AuthorizedKey()},
		HostKey:         key,
		HostCertificate: Certify(authority, key, ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}}),
	})
	client := mustLogin(t, d.daemon)
	_, err := client.Dial("tcp", serveTCP(t, echo))
	if refusal, ok := errors.AsType[*ssh.OpenChannelError](err); !ok || refusal.Reason != ssh.Prohibited {
		t.Errorf("the Match block: %v", err)
	}
	if !strings.Contains(d.Log(), "debug1: ") {
		t.Error("Config did not win over the default LogLevel")
	}
	checker := ssh.CertChecker{IsHostAuthority: func(k ssh.PublicKey, _ string) bool {
		return AuthorizedKey(k) == authority.AuthorizedKey()
	}}
	certified, err := ssh.Dial("tcp", d.Addr(), &ssh.ClientConfig{
		User: d.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(another)}, HostKeyCallback: checker.CheckHostKey,
		HostKeyAlgorithms: []string{ssh.CertAlgoECDSA256v01},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = certified.Close()
	if d.Logins() != 2 {
		t.Errorf("%d logins", d.Logins())
	}
}

// The embedded bastion must refuse as the real one does, in the same words.
func TestBastionRefusesAsSSHD(t *testing.T) {
	for _, permit := range []bool{true, false} {
		opts, config := BastionOptions{}, ""
		if !permit {
			opts.PermitOpen = func(string, string) error { return errors.New("not permitted") }
			config = "PermitOpen none"
		}
		sshd := mustLogin(t, StartSSHD(t, SSHDOptions{Config: config}).daemon)
		_, embedded := keyBastion(t, opts)
		for _, target := range []struct{ network, addr string }{
			{"tcp", "127.0.0.1:1"}, {"tcp", "unresolvable.invalid:80"}, {"unix", "/nonexistent/socket"},
		} {
			_, want := sshd.Dial(target.network, target.addr)
			_, got := embedded.Dial(target.network, target.addr)
			if want == nil || got == nil || want.Error() != got.Error() {
				t.Errorf("permitted %v, %s: the bastion says %v, sshd %v", permit, target.addr, got, want)
			}
		}
	}
}

func TestMissing(t *testing.T) {
	t.Setenv("CI", "")
	t.Run("skips", func(t *testing.T) {
		Missing(t, "nothing is missing: this tests the skip")
		t.Error("it went on")
	})
}
