//go:build unix

package tunnel

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// agent_real_test.go logs in to a real sshd by way of agents that are in
// trouble.

// agentTunnel logs in with the agent at a socket, and the options that edit sets.
func agentTunnel(t *testing.T, s *sshtest.SSHD, socket string, edit func(*Config)) *Handle {
	t.Helper()
	cfg := Config{Name: "test", Address: s.Addr(), User: s.User, IdentityAgent: socket, KnownHosts: []string{s.KnownHostsFile()}}
	if edit != nil {
		edit(&cfg)
	}
	return open(t, cfg, quick())
}

// TestLockedAgent: an agent that was locked with ssh-add -x is told of, and the
// tunnel comes up by itself once it is unlocked.
func TestLockedAgent(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	socket := realAgent(t, agent.AddedKey{PrivateKey: s.ClientKey.Private()})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	if err := client.Lock([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	h := agentTunnel(t, s, socket, nil)
	addr := listen(t, echo)
	_, err = dialFor(t, h, addr, 10*time.Second)
	if _, ok := errors.AsType[*AuthError](err); !ok || !strings.Contains(err.Error(), `agent at "`+socket+`" has no key, or is locked (see ssh-add -l and ssh-add -X)`) {
		t.Errorf("got %v", err)
	}
	if err := client.Unlock([]byte("secret")); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 15*time.Second, "a login with the agent's key", func() bool {
		c, err := dialFor(t, h, addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// TestStoppedAgent: an agent that does not answer does not keep a key that is in
// a file from being offered; without one, the error says why.
func TestStoppedAgent(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	socket := filepath.Join(t.TempDir(), "agent")
	cmd := exec.Command(program(t, "ssh-agent"), "-D", "-a", socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	sshtest.Eventually(t, 10*time.Second, "the agent listens", func() bool {
		c, err := net.Dial("unix", socket) // it may be bound before
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h := agentTunnel(t, s, socket, func(c *Config) { c.IdentityFiles = []IdentityFile{{Path: s.ClientKeyFile()}} })
	within(t, 8*time.Second, "a login with the key's file", func() { roundTrip(t, dial(t, h, listen(t, echo))) })

	_, err := dialFor(t, agentTunnel(t, s, socket, nil), "web:80", 15*time.Second)
	if err == nil || !strings.Contains(err.Error(), `agent at "`+socket+`": does not answer: it listed no keys within 4s`) {
		t.Errorf("got %v", err)
	}
}

// TestAgentErrors: what keeps an agent's key from being used is named, and what helps.
func TestAgentErrors(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	dead := filepath.Join(t.TempDir(), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	elsewhere := sshtest.WriteFile(t, "known_hosts", []byte(sshtest.KnownHostsLine("elsewhere", sshtest.NewKey().PublicKey())+"\n"))
	confirms := startAgent(t)
	add := exec.Command(program(t, "ssh-add"), "-q", "-c", s.ClientKeyFile())
	add.Env = []string{"SSH_AUTH_SOCK=" + confirms} // and nobody to ask
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v: %s", err, out)
	}
	for name, test := range map[string]struct{ socket, message, fix string }{
		"dead":       {dead, "connection refused", fixAgentAbsent},
		"absent":     {dead + "-not", "no such file or directory", fixAgentAbsent},
		"empty":      {startAgent(t), "has no key, or is locked", fixAgentEmpty},
		"restricted": {restrictedTo(t, s.ClientKeyFile(), elsewhere, "elsewhere"), "restricts 1 of its keys to other hosts", fixAgentHosts},
		"declined":   {confirms, "failed to sign challenge", fixAgentSigns},
	} {
		err := agentTunnel(t, s, test.socket, func(c *Config) { c.Name = name }).Connect(t.Context())
		refused, ok := errors.AsType[*AuthError](err)
		if !ok || !strings.Contains(refused.Message, `agent at "`+test.socket+`"`) || !strings.Contains(refused.Message, test.message) || !strings.Contains(refused.Message, test.fix) || refused.Fix != test.fix {
			t.Errorf("%s: got %+v", name, err)
		}
	}
}

// tokenAgent holds a FIDO key and signs as its token would, having been touched
// (OpenSSH's PROTOCOL.u2f).
type tokenAgent struct {
	agent.ExtendedAgent
	private ed25519.PrivateKey
	public  ssh.PublicKey
}

func (a tokenAgent) List() ([]*agent.Key, error) {
	return []*agent.Key{{Format: a.public.Type(), Blob: a.public.Marshal(), Comment: "token"}}, nil
}

func (tokenAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}

func (a tokenAgent) SignWithFlags(key ssh.PublicKey, data []byte, _ agent.SignatureFlags) (*ssh.Signature, error) {
	if !bytes.Equal(key.Marshal(), a.public.Marshal()) {
		return nil, errNo
	}
	const userPresent = 1
	rest := binary.BigEndian.AppendUint32([]byte{userPresent}, 7) // and a counter
	application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	signed := append(append(application[:], rest...), message[:]...)
	blob, err := a.private.Sign(nil, signed, crypto.Hash(0))
	if err != nil {
		return nil, err
	}
	return &ssh.Signature{Format: a.public.Type(), Blob: blob, Rest: rest}, nil
}

// TestSecurityToken: a key's file that names a token is left to the agent, whose
// signature sshd accepts; if that does not hold it, the error says so.
func TestSecurityToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "id_ed25519_sk")
	write(t, file, skFile())
	id, err := (&Config{}).loadIdentity(IdentityFile{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{authorized(id.public)}})
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // returns when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(tokenAgent{private: edKey(1), public: id.public}, conn)
			_ = conn.Close()
		}
	}()
	with := func(c *Config) { c.IdentityFiles, c.IdentitiesOnly = []IdentityFile{{Path: file}}, true }
	roundTrip(t, dial(t, agentTunnel(t, s, socket, with), listen(t, echo)))

	_, err = dialFor(t, agentTunnel(t, s, realAgent(t, agent.AddedKey{PrivateKey: s.ClientKey.Private()}), with), "web:80", 10*time.Second)
	want := `identity_file "` + file + `" is a key on a security token, which only an agent can sign with, and no agent holds it; add it to one with ssh-add`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
