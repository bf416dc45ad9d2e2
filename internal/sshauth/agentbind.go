// agentbind.go tells an agent which host a connection is to, as ssh does. Keys that
// are restricted to some hosts (ssh-add -h) sign nothing without that. As a proof
// the agent gets the host's signature over the session identifier (OpenSSH's
// PROTOCOL.agent, session-bind@openssh.com).

package sshauth

import (
	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// sessionBind is the contents of the agent's extension of that name. The session
// identifier is the exchange hash of the first key exchange (RFC 4253 section 7.2).
type sessionBind struct {
	HostKey   []byte
	SessionID []byte
	Signature []byte
	// Forwarding is for a forwarded agent, of which we have none.
	Forwarding bool
}

// Bind sets which host the connection is to: its public key, and its signature over the
// session identifier (RFC 4253 section 7.2). Without it, keys that are restricted to hosts
// (ssh-add -h) sign nothing. It is called before the AuthCallback is.
func (a *Authenticator) Bind(hostKey, sessionID, signature []byte) {
	a.binding = &sessionBind{HostKey: hostKey, SessionID: sessionID, Signature: signature}
}

// bind tells an agent which host its keys will sign for. Agents without the
// extension refuse it, and their keys work all the same.
func (b *sessionBind) bind(client agent.ExtendedAgent, log *zap.Logger) {
	if b == nil {
		return
	}
	if _, err := client.Extension("session-bind@openssh.com", ssh.Marshal(b)); err != nil {
		log.Debug("the agent does not bind keys to hosts", zap.Error(err))
	}
}
