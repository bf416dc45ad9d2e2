package tunnel

import (
	"crypto/ed25519"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestAgentWithLongTexts: the log tells of an agent's keys in few words, however
// many the agent has for them.
func TestAgentWithLongTexts(t *testing.T) {
	key := sshtest.NewKey()
	private := key.Private().(ed25519.PrivateKey)
	long := strings.Repeat(nasty, 1000)
	expired := sshtest.Certify(key, key, ssh.Certificate{KeyId: long, CertType: ssh.UserCert, ValidBefore: 1})
	barred := sshtest.Certify(key, key, ssh.Certificate{KeyId: long, CertType: ssh.UserCert, ValidPrincipals: []string{"tester"}})
	for name, held := range map[string]agent.AddedKey{
		"a comment":              {PrivateKey: &private, Comment: long},
		"an expired certificate": {PrivateKey: &private, Certificate: expired},
		"a certificate":          {PrivateKey: &private, Certificate: barred},
	} {
		t.Run(name, func(t *testing.T) {
			b := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.AuthorizedKeys = append(o.AuthorizedKeys, barred) })
			cfg, set := configFor(t, key, b.HostKeyFingerprint(), b.Addr()), quick()
			cfg.IdentityFiles, cfg.IdentitiesOnly, cfg.IdentityAgent = nil, false, heldBy(t, held)
			logs := observed(&set)
			open(t, cfg, set)
			sshtest.Eventually(t, 10*time.Second, "a word of it", func() bool { return says(logs, "SHA256:") && (says(logs, "connected") || says(logs, "will retry")) })
			for _, e := range logs.All() {
				checkText(t, "an entry", textOf(e))
			}
		})
	}
}

// heldBy starts an agent that holds a key of which it may say what ssh-agent would
// not take.
func heldBy(t *testing.T, key agent.AddedKey) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(key); err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // returns when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(ring, conn)
			_ = conn.Close()
		}
	}()
	return socket
}
