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

// TestSlowHost: a host that takes longer to answer than others have to fail is
// connected to all the same.
func TestSlowHost(t *testing.T) {
	key := sshtest.NewKey()
	signer, err := ssh.NewSignerFromSigner(key.Private())
	if err != nil {
		t.Fatal(err)
	}
	server := &ssh.ServerConfig{NoClientAuth: true}
	server.AddHostKey(signer)
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
