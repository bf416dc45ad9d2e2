// agentbind.go tells an agent which host a connection is to, as ssh does. Keys that
// are restricted to some hosts (ssh-add -h) sign nothing without that. As a proof
// the agent gets the host's signature over the session identifier (OpenSSH's
// PROTOCOL.agent, session-bind@openssh.com).

package tunnel

import (
	"bytes"
	"encoding/binary"

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

// hostKeySignature returns the host's signature in its reply of the first key
// exchange, which x/crypto does not show but has verified; or nil. data is what
// the host has sent, up to that reply at least, and none of it is encrypted.
func hostKeySignature(data []byte, hostKey ssh.PublicKey) []byte {
	data, ok := afterVersion(data)
	for blob := hostKey.Marshal(); ok; {
		var payload []byte
		if payload, data, ok = cutPacket(data); !ok {
			return nil
		}
		// SSH_MSG_KEXDH_REPLY (RFC 4253 section 8), SSH_MSG_KEX_ECDH_REPLY (RFC 5656
		// section 4) and SSH_MSG_KEX_DH_GEX_REPLY (RFC 4419 section 3) have the
		// same form, but for their numbers.
		var reply struct {
			HostKey, Public, Signature []byte
		}
		if len(payload) > 1 && (payload[0] == 31 || payload[0] == 33) && ssh.Unmarshal(payload[1:], &reply) == nil && bytes.Equal(reply.HostKey, blob) {
			return reply.Signature
		}
	}
	return nil
}

// afterVersion returns what follows a server's version line.
func afterVersion(data []byte) (rest []byte, ok bool) {
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok || bytes.HasPrefix(line, []byte("SSH-")) {
			return rest, ok
		}
		data = rest
	}
}

// cutPacket cuts the payload of the first packet off, which is not encrypted (RFC
// 4253 section 6).
func cutPacket(data []byte) (payload, rest []byte, ok bool) {
	if len(data) < 5 {
		return nil, nil, false
	}
	length, padding := uint64(binary.BigEndian.Uint32(data)), uint64(data[4])
	if length < padding+1 || uint64(len(data)) < 4+length {
		return nil, nil, false
	}
	return data[5 : 4+length-padding], data[4+length:], true
}
