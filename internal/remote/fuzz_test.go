package remote

import (
	"net"
	"testing"

	"golang.org/x/crypto/ssh"
)

// fuzz_test.go gives parsers any input.

// FuzzRemoteAddress: an address is the same when what it is called is read again.
func FuzzRemoteAddress(f *testing.F) {
	for _, s := range []string{"localhost:80", "*:80", ":80", "[::1]:65535", "[fe80::1%eth0]:1", "/run/s", "a:b:1", "\x00", "A.b:080"} {
		f.Add("tcp", s)
		f.Add("unix", s)
	}
	f.Fuzz(func(t *testing.T, network, listen string) {
		a, err := parseAddress(network, listen)
		if err != nil {
			return
		}
		again, err := parseAddress(network, a.String())
		if err != nil || again != a {
			t.Errorf("%q is %+v, called %q, which is %+v, %v", listen, a, a, again, err)
		}
		_, _ = a.request()
		_, _ = a.addr().String(), a.refusedHint()
	})
}

// FuzzForwarded: a channel that the bastion opens is taken by nobody who has not
// asked for it, whatever it says of itself.
func FuzzForwarded(f *testing.F) {
	f.Add("forwarded-tcpip", ssh.Marshal(forwardedTCPIP{"localhost", 80, "192.0.2.1", 1}))
	f.Add("forwarded-tcpip", ssh.Marshal(forwardedTCPIP{"\x1b[2J", 1 << 31, "\x00", 1 << 31}))
	f.Add("forwarded-streamlocal@openssh.com", ssh.Marshal(forwardedStreamLocal{"/run/s", ""}))
	f.Add("forwarded-tcpip", []byte{0, 0, 0, 9})
	forwards := New(f.Context(), "test", nil, nil)
	f.Fuzz(func(t *testing.T, kind string, data []byte) {
		if forwards.Take(&connection{}, saidChannel{kind, data}) {
			t.Errorf("took %q %q", kind, data)
		}
	})
}

// saidChannel is a channel that the bastion opens, as it tells of it.
type saidChannel struct {
	kind string
	data []byte
}

func (c saidChannel) Accept() (ssh.Channel, <-chan *ssh.Request, error) {
	return nil, nil, net.ErrClosed
}
func (c saidChannel) Reject(ssh.RejectionReason, string) error { return nil }
func (c saidChannel) ChannelType() string                      { return c.kind }
func (c saidChannel) ExtraData() []byte                        { return c.data }
