package wire

import (
	"bytes"
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// strictKex is what a server says that keeps to strict key exchange
// (draft-miller-sshm-strict-kex, in OpenSSH's PROTOCOL section 1.9).
const strictKex = "kex-strict-s-v00@openssh.com"

// Greeting is what x/crypto does not tell of the first key exchange.
type Greeting struct {
	// Version is the server's version line.
	Version string
	// HostKey and Signature are the server's key and what it has signed with it.
	HostKey, Signature []byte
	// Strict reports whether the exchange was strict, for which x/crypto always asks.
	Strict bool
}

// NoteGreeting records the greeting when the first key exchange has just ended.
func (c *Conn) NoteGreeting(hostKey ssh.PublicKey) {
	data := c.preamble.end()
	version, init, err := ParseGreeting(data)
	c.greeting.Store(&Greeting{
		Version: printable.Text(version),
		HostKey: hostKey.Marshal(), Signature: hostKeySignature(data, hostKey),
		Strict: err == nil && slices.Contains(init.KexAlgorithms, strictKex),
	})
}

// Greeting returns what NoteGreeting has recorded; nothing before that.
func (c *Conn) Greeting() Greeting {
	if g := c.greeting.Load(); g != nil {
		return *g
	}
	return Greeting{}
}

// hostKeySignature returns the host's signature in its reply of the first key
// exchange, which x/crypto does not show but has verified; or nil. data is what
// the host has sent, up to that reply at least, and none of it is encrypted.
func hostKeySignature(data []byte, hostKey ssh.PublicKey) []byte {
	_, data, ok := cutVersion(data)
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
