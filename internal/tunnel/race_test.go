package tunnel

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// openServer returns the configuration of a server with that host key that lets anybody in.
func openServer(t *testing.T, key *sshtest.Key) *ssh.ServerConfig {
	t.Helper()
	signer, err := ssh.NewSignerFromSigner(key.Private())
	if err != nil {
		t.Fatal(err)
	}
	server := &ssh.ServerConfig{NoClientAuth: true}
	server.AddHostKey(signer)
	return server
}

// TestSlowHost: a host that takes longer to answer than others have to fail is
// connected to all the same.
func TestSlowHost(t *testing.T) {
	key := sshtest.NewKey()
	server := openServer(t, key)
	for _, hosts := range [][]string{{"down:22", "slow:22"}, {"slow:22", "down:22"}} {
		bubble(t, func(t *testing.T) {
			cfg := Config{
				Name: "test", Address: hosts[0], Fallbacks: hosts[1:], User: "u",
				HostKeys: []string{key.Fingerprint()}, NoIdentityFiles: true, IdentityAgent: "none",
			}
			cfg.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "down") {
					return nil, errRefusedPort
				}
				ours, theirs := net.Pipe()
				go func() { // returns when our side is closed
					defer func() { _ = theirs.Close() }()
					time.Sleep(6 * time.Second) // twice what it is waited for
					conn, channels, requests, err := ssh.NewServerConn(theirs, server)
					if err != nil {
						return
					}
					go ssh.DiscardRequests(requests)
					for c := range channels {
						_ = c.Reject(ssh.Prohibited, "no")
					}
					_ = conn.Close()
				}()
				return ours, nil
			}
			h := Open(cfg, Settings{}, nil)
			h.Start()
			time.Sleep(time.Minute)
			if !isUp(h) {
				t.Errorf("hosts %q: not connected in a minute: %v", hosts, h.Status().LastError)
			}
			h.Close()
			time.Sleep(time.Minute)
			synctest.Wait()
		})
	}
}

// slowConn is a server's connection each of whose writes but the first, its banner, is late.
type slowConn struct {
	net.Conn
	delay time.Duration
	wrote time.Duration // by how much all were late
	begun bool
}

func (c *slowConn) Write(p []byte) (int, error) {
	if c.begun {
		time.Sleep(c.delay)
		c.wrote += c.delay
	}
	c.begun = true
	return c.Conn.Write(p)
}

// TestSlowLogin: a login that goes on, if slowly, is waited for, though the next host would
// be quicker. One that stops is not.
func TestSlowLogin(t *testing.T) {
	key := sshtest.NewKey()
	server := openServer(t, key)
	for delay, want := range map[time.Duration]string{700 * time.Millisecond: "slow:22", time.Minute: "quick:22"} {
		bubble(t, func(t *testing.T) {
			cfg := Config{
				Name: "test", Address: "slow:22", Fallbacks: []string{"quick:22"}, User: "u",
				HostKeys: []string{key.Fingerprint()}, NoIdentityFiles: true, IdentityAgent: "none",
			}
			var dialed []string
			var logins []time.Duration // by how much each was late
			cfg.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
				dialed = append(dialed, address)
				ours, theirs := net.Pipe()
				slow := &slowConn{Conn: theirs}
				if address == "slow:22" {
					slow.delay = delay
				}
				go func() { // returns when our side is closed
					defer func() { _ = theirs.Close() }()
					conn, channels, requests, err := ssh.NewServerConn(slow, server)
					if err != nil {
						return
					}
					logins = append(logins, slow.wrote)
					go ssh.DiscardRequests(requests)
					for c := range channels {
						_ = c.Reject(ssh.Prohibited, "no")
					}
					_ = conn.Close()
				}()
				return ours, nil
			}
			h := Open(cfg, Settings{ConnectTimeout: 5 * time.Minute}, nil)
			h.Start()
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if !isUp(h) || h.Status().Host != want {
				t.Errorf("delay %s: in use is %q, want %q", delay, h.Status().Host, want)
			}
			if want == "slow:22" && (len(dialed) != 1 || len(logins) != 1 || logins[0] <= 3*time.Second) {
				t.Errorf("dialed %q; the logins were late by %s", dialed, logins)
			}
			h.Close()
			time.Sleep(10 * time.Minute)
			synctest.Wait()
		})
	}
}
