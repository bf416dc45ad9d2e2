// agent.go talks to an ssh-agent, for as long as one authentication lasts.

package sshauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// AgentPath returns the path of the agent's socket or, on Windows, named pipe, or "" for no
// agent. It reads the environment anew.
func (cfg *Config) AgentPath() string {
	switch cfg.IdentityAgent {
	case "", "none":
		return ""
	case agentFromEnvironment:
		return cmp.Or(os.Getenv(agentFromEnvironment), defaultAgent())
	default:
		return cfg.IdentityAgent
	}
}

// agentFromEnvironment is the IdentityAgent, and the environment variable,
// that leaves the choice of the socket to the environment.
const agentFromEnvironment = "SSH_AUTH_SOCK"

// agentPatience is how long an agent may take to list its keys. It asks its user nothing
// for that. Other keys have to be offered even if an agent hangs.
const agentPatience = 4 * time.Second

// errAgentSilent is the error of an agent that takes longer.
var errAgentSilent = fmt.Errorf("does not answer: it listed no keys within %s", agentPatience)

// agentKey is a key that an agent holds.
type agentKey struct {
	public  ssh.PublicKey // a *ssh.Certificate or a plain key
	signer  ssh.AlgorithmSigner
	comment string
}

// agentLink is the connection to an agent. An agent may ask its user, or hang,
// at any call: close ends the call.
type agentLink struct {
	path string
	// ctx ends with close, and with it the connection.
	ctx    context.Context
	cancel context.CancelFunc

	calls atomic.Int32 // calls that wait for the agent
	hung  atomic.Bool  // a call was waiting when the link was closed
	once  sync.Once    // for close
}

func newAgentLink(path string) *agentLink {
	ctx, cancel := context.WithCancel(context.Background())
	return &agentLink{path: path, ctx: ctx, cancel: cancel}
}

// keys returns what the agent holds, and may use for the connection that binding
// is about; and how many keys it may not use for that.
func (l *agentLink) keys(binding *sessionBind, log *zap.Logger) (keys []agentKey, restricted int, err error) {
	err = l.call(func() error {
		ctx, cancel := context.WithTimeout(l.ctx, agentPatience)
		defer cancel()
		conn, err := dialAgent(ctx, l.path)
		if err != nil {
			return readfile.RootCause(err)
		}
		closeConn := func() { _ = conn.Close() }
		context.AfterFunc(l.ctx, closeConn)
		stop := context.AfterFunc(ctx, closeConn)
		client := agent.NewClient(conn)
		all, err := client.List()
		var signers []ssh.Signer
		if err == nil {
			binding.bind(client, log)
			signers, err = client.Signers()
		}
		stop()
		switch {
		case err != nil && l.ctx.Err() == nil && ctx.Err() != nil:
			return errAgentSilent
		case err != nil:
			return err
		}
		restricted = max(len(all)-len(signers), 0)
		for _, s := range signers {
			key, ok := l.key(s)
			if ok {
				keys = append(keys, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("agent at %s: %w", redact.Quote(l.path), err)
	}
	return keys, restricted, nil
}

// key wraps a signer of the agent. It returns false for a key of a type that
// is not supported.
func (l *agentLink) key(s ssh.Signer) (agentKey, bool) {
	listed, ok := s.PublicKey().(*agent.Key)
	if !ok {
		return agentKey{}, false
	}
	public, err := ssh.ParsePublicKey(listed.Blob)
	if err != nil {
		return agentKey{}, false
	}
	signer, ok := s.(ssh.AlgorithmSigner)
	if !ok {
		return agentKey{}, false
	}
	return agentKey{public, &agentSigner{signer, public, l}, listed.Comment}, true
}

// call does something that may wait for the agent.
func (l *agentLink) call(f func() error) error {
	if l.isClosed() {
		return net.ErrClosed
	}
	l.calls.Add(1)
	defer l.calls.Add(-1)
	return f()
}

// close ends the connection and every call that waits for the agent.
func (l *agentLink) close() {
	l.once.Do(func() {
		l.hung.Store(l.calls.Load() > 0)
		l.cancel()
	})
}

// isClosed reports whether the link was closed.
func (l *agentLink) isClosed() bool { return l.ctx.Err() != nil }

// agentSigner lets the agent sign.
type agentSigner struct {
	ssh.AlgorithmSigner
	public ssh.PublicKey
	link   *agentLink
}

// PublicKey returns the key as x/crypto/ssh parses it: the agent's own list
// has only its bytes.
func (s *agentSigner) PublicKey() ssh.PublicKey { return s.public }

// SignWithAlgorithm implements ssh.AlgorithmSigner.
func (s *agentSigner) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (sig *ssh.Signature, err error) {
	err = s.link.call(func() error {
		sig, err = s.AlgorithmSigner.SignWithAlgorithm(rand, data, algorithm)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("agent at %s: %s", redact.Quote(s.link.path), strings.TrimPrefix(err.Error(), "agent: "))
	}
	return sig, nil
}

// What helps against an agent's refusal to sign, and against one that is not there.
const (
	fixAgentSigns   = "let the agent sign without a confirmation, PIN or touch (no ssh-add -c), for this host if its keys are restricted (ssh-add -h)"
	fixAgentAbsent  = "start an agent there, or name the socket of one with identity_agent"
	fixAgentSilent  = "restart the agent, or name the socket of another with identity_agent"
	fixAgentEmpty   = "add a key to the agent with ssh-add, or unlock it with ssh-add -X"
	fixAgentHosts   = "add the key to the agent with an ssh-add -h for this host too, or without -h"
	fixAgentAllowed = "change the owner or mode of the socket, or name that of another agent with identity_agent"
)

// agentFix says what helps against the error of an agent that lists no keys, or "".
func agentFix(err error) string {
	switch {
	case errors.Is(err, errAgentSilent):
		return fixAgentSilent
	case errors.Is(err, fs.ErrPermission):
		return fixAgentAllowed
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fixAgentAbsent
	default:
		return ""
	}
}
