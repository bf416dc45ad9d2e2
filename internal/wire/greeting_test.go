package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"testing"

	"golang.org/x/crypto/ssh"
)

// packet is a packet that is not encrypted.
func packet(payload []byte) []byte {
	padding := 4 + (8-(5+len(payload)+4)%8)%8
	p := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding))
	p = append(append(p, byte(padding)), payload...)
	return append(p, make([]byte, padding)...)
}

func newPublicKey(tb testing.TB) ssh.PublicKey {
	tb.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// FuzzHostKeySignature: whatever a host sends, what is found is a part of that.
func FuzzHostKeySignature(f *testing.F) {
	key, other := newPublicKey(f), newPublicKey(f)
	reply := func(number byte) []byte {
		return packet(append([]byte{number}, ssh.Marshal(struct{ HostKey, Public, Signature []byte }{key.Marshal(), []byte("Q"), []byte("signature")})...))
	}
	greeting := append([]byte("hello\nSSH-2.0-x\r\n"), packet([]byte{20, 1, 2})...)
	group := packet(append([]byte{31}, ssh.Marshal(struct{ P, G []byte }{[]byte("p"), []byte("g")})...))
	for _, data := range [][]byte{
		append(bytes.Clone(greeting), reply(31)...), append(append(bytes.Clone(greeting), group...), reply(33)...), append(append(bytes.Clone(greeting), packet([]byte{2, 0})...), reply(31)...),
	} {
		if got := hostKeySignature(append(data, packet([]byte{21})...), key); string(got) != "signature" {
			f.Errorf("found %q in %q", got, data)
		}
		for i := range data {
			if got := hostKeySignature(data[:i], key); got != nil {
				f.Errorf("found %q in %q", got, data[:i])
			}
		}
		if got := hostKeySignature(data, other); got != nil {
			f.Errorf("found %q of another key", got)
		}
		f.Add(data)
	}
	f.Add([]byte("SSH-2.0-x\n\xff\xff\xff\xff\xff"))
	f.Add([]byte("SSH-2.0-x\n\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if got := hostKeySignature(data, key); !bytes.Contains(data, got) {
			t.Errorf("found %q in %q", got, data)
		}
	})
}
