// kexinit.go reads what a server says first, before anything is encrypted.

package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
)

// KexInit is SSH_MSG_KEXINIT (RFC 4253 section 7.1): the algorithms that a side
// has, in its order of preference.
type KexInit struct {
	Cookie                   [16]byte `sshtype:"20"`
	KexAlgorithms            []string
	HostKeyAlgorithms        []string
	CiphersToServer          []string
	CiphersToClient          []string
	MACsToServer             []string
	MACsToClient             []string
	CompressionToServer      []string
	CompressionToClient      []string
	LanguagesToServer        []string
	LanguagesToClient        []string
	FirstKexPacketFollows    bool
	Reserved                 uint32
	AdditionsOfLaterVersions []byte `ssh:"rest"`
}

// maxPacket is the longest packet that a server may begin with. RFC 4253 section
// 6.1 requires every implementation to take 35000 bytes.
const maxPacket = 35000

// preamble is the beginning of what a server sends.
type preamble struct {
	// over says that no more is wanted.
	over atomic.Bool

	// mu guards data.
	mu   sync.Mutex
	data []byte
}

// maxPreamble has room for lines, a version and a packet.
const maxPreamble = 2 * maxPacket

// add takes what has arrived, as long as it is wanted.
func (o *preamble) add(p []byte) {
	if o.over.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.over.Load() {
		o.data = append(o.data, p[:min(len(p), maxPreamble-len(o.data))]...)
	}
}

// restart drops what has arrived so far for other data.
func (o *preamble) restart(data ...[]byte) {
	o.mu.Lock()
	o.data = nil
	o.mu.Unlock()
	for _, p := range data {
		o.add(p)
	}
}

// end returns what has arrived so far. Nothing more is kept.
func (o *preamble) end() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	data := o.data
	o.data = nil
	o.over.Store(true)
	return data
}

// errCutShort says that a greeting is not whole.
var errCutShort = errors.New("the key exchange was cut short")

// ParseGreeting reads the beginning of what a server sends: lines that say
// anything, its version (RFC 4253 section 4.2), and its SSH_MSG_KEXINIT in a
// packet that is not encrypted (section 6). What follows does not matter.
func ParseGreeting(data []byte) (version string, init *KexInit, err error) {
	version, data, ok := cutVersion(data)
	if !ok {
		return "", nil, errCutShort
	}
	if len(data) < 5 {
		return version, nil, errCutShort
	}
	length, padding := binary.BigEndian.Uint32(data), uint32(data[4])
	data = data[4:]
	switch {
	case length > maxPacket || length < padding+2:
		return version, nil, fmt.Errorf("a first packet of %d bytes, %d of them padding", length, padding)
	case uint32(len(data)) < length: //nolint:gosec // it is a slice of a bounded record
		return version, nil, errCutShort
	}
	init = new(KexInit)
	if err := ssh.Unmarshal(data[1:length-padding], init); err != nil {
		return version, nil, fmt.Errorf("reading the server's algorithms: %w", err)
	}
	return version, init, nil
}

// cutVersion returns a server's version, and what follows its line. It skips the lines
// before that.
func cutVersion(data []byte) (version string, rest []byte, ok bool) {
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return "", nil, false
		}
		if bytes.HasPrefix(line, []byte("SSH-")) {
			return string(bytes.TrimSuffix(line, []byte("\r"))), rest, true
		}
		data = rest
	}
}
