package wire

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
)

// greeting is what a server begins with that has host key algorithms.
func greeting(banner string, algos ...string) []byte {
	payload := ssh.Marshal(KexInit{KexAlgorithms: []string{"curve25519-sha256"}, HostKeyAlgorithms: algos})
	const padding = 4
	packet := binary.BigEndian.AppendUint32([]byte(banner), uint32(len(payload)+1+padding))
	packet = append(append(packet, padding), payload...)
	return append(packet, make([]byte, padding)...)
}

func TestParseGreeting(t *testing.T) {
	t.Parallel()
	want := []string{"rsa-sha2-512", "ssh-ed25519"}
	for _, banner := range []string{"SSH-2.0-x\r\n", "SSH-2.0-x\n", "hello\r\nSSH or not\nSSH-2.0-x\r\n"} {
		whole := greeting(banner, want...)
		version, init, err := ParseGreeting(append(whole, "more"...))
		if err != nil || version != "SSH-2.0-x" || !slices.Equal(init.HostKeyAlgorithms, want) {
			t.Errorf("%q: %q %+v %v", banner, version, init, err)
		}
		for i := range whole {
			if _, _, err := ParseGreeting(whole[:i]); !errors.Is(err, errCutShort) {
				t.Errorf("%q: the first %d bytes: %v", banner, i, err)
			}
		}
	}
	for name, packet := range map[string]string{
		"too long":         "\xff\xff\xff\xff\x04",
		"nothing":          "\x00\x00\x00\x00\x00",
		"padding alone":    "\x00\x00\x00\x05\x04\x00\x00\x00\x00",
		"another message":  "\x00\x00\x00\x03\x01\x15\x00",
		"a kexinit's head": "\x00\x00\x00\x03\x01\x14\x00",
	} {
		if _, init, err := ParseGreeting([]byte("SSH-2.0-x\r\n" + packet)); err == nil || errors.Is(err, errCutShort) {
			t.Errorf("%s: %+v %v", name, init, err)
		}
	}
}

func FuzzParseGreeting(f *testing.F) {
	f.Add(greeting("SSH-2.0-x\r\n", "ssh-ed25519"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, init, err := ParseGreeting(data)
		if err == nil && init == nil {
			t.Fatal("neither algorithms nor an error")
		}
		// What is whole says the same whatever follows it.
		if err == nil {
			if _, again, err := ParseGreeting(append(slices.Clone(data), 0)); err != nil || !slices.Equal(again.HostKeyAlgorithms, init.HostKeyAlgorithms) {
				t.Errorf("with more behind it: %+v %v", again, err)
			}
		}
	})
}
