//go:build unix

package tunnel

import (
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
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

// TestLockedAgent: the log names an agent that was locked with ssh-add -x, and the
// tunnel comes up by itself once it is unlocked.
func TestLockedAgent(t *testing.T) {
	t.Parallel()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	socket := sshtest.StartAgent(t, agent.AddedKey{PrivateKey: s.ClientKey.Private()})
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
	_, err = dialFor(t, h, addr, sshtest.Patience)
	if _, ok := errors.AsType[*failure.AuthError](err); !ok || !strings.Contains(err.Error(), `agent at "`+socket+`" has no key, or is locked (see ssh-add -l and ssh-add -X)`) {
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
	cmd := sshtest.NewProcess(t, exec.Command(sshtest.Program(t, "ssh-agent"), "-D", "-a", socket))
	cmd.WaitListening(t, "unix", socket)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h := agentTunnel(t, s, socket, func(c *Config) { c.IdentityFiles = []IdentityFile{{Path: s.ClientKeyFile()}} })
	within(t, 8*time.Second, "a login with the key's file", func() { roundTrip(t, mustDial(t, h, listen(t, echo))) })

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
	confirms := sshtest.StartAgent(t)
	add := exec.Command(sshtest.Program(t, "ssh-add"), "-q", "-c", s.ClientKeyFile())
	add.Env = []string{"SSH_AUTH_SOCK=" + confirms} // and nobody to ask
	if out, err := add.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v: %s", err, out)
	}
	for name, test := range map[string]struct{ socket, message, fix string }{
		"dead":       {dead, "connection refused", "start an agent there, or name the socket of one with identity_agent"},
		"absent":     {dead + "-not", "no such file or directory", "start an agent there, or name the socket of one with identity_agent"},
		"empty":      {sshtest.StartAgent(t), "has no key, or is locked", "add a key to the agent with ssh-add, or unlock it with ssh-add -X"},
		"restricted": {restrictedTo(t, s.ClientKeyFile(), elsewhere, "elsewhere"), "restricts 1 of its keys to other hosts", "add the key to the agent with an ssh-add -h for this host too, or without -h"},
		"declined":   {confirms, "failed to sign challenge", "let the agent sign without a confirmation, PIN or touch (no ssh-add -c), for this host if its keys are restricted (ssh-add -h)"},
	} {
		err := agentTunnel(t, s, test.socket, func(c *Config) { c.Name = name }).Connect(t.Context())
		refused, ok := errors.AsType[*failure.AuthError](err)
		if !ok || !strings.Contains(refused.Message, `agent at "`+test.socket+`"`) || !strings.Contains(refused.Message, test.message) || !strings.Contains(refused.Message, test.fix) || refused.Fix != test.fix {
			t.Errorf("%s: got %+v", name, err)
		}
	}
}
