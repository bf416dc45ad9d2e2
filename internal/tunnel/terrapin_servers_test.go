//go:build unix

package tunnel

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// terrapin_servers_test.go has somebody in the middle of a connection to sshd,
// who puts a message in before it is encrypted: the beginning of CVE-2023-48795.

// intruder listens for a connection that it passes on to a server, with an
// SSH_MSG_IGNORE in front of the server's answer to our half of the key exchange
// if it intrudes.
func intruder(t *testing.T, server string, intrudes bool) string {
	return listen(t, func(client net.Conn) {
		to, err := net.Dial("tcp", server)
		if err != nil {
			return
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(to, client)
			_ = to.Close()
		}()
		in := bufio.NewReader(to)
		line, _ := in.ReadString('\n')
		_, _ = io.WriteString(client, line)
		// The server's SSH_MSG_KEXINIT, in a packet as it is.
		header := make([]byte, 4)
		if _, err := io.ReadFull(in, header); err == nil {
			_, _ = client.Write(header)
			_, _ = io.CopyN(client, in, int64(binary.BigEndian.Uint32(header)))
		}
		if intrudes {
			_, _ = client.Write(plainPacket(ssh.Marshal(sshtest.Ignore{Data: "nothing"})))
		}
		_, _ = io.Copy(client, in)
		_ = client.Close()
		<-done
	})
}

// plainPacket is a packet that is not encrypted (RFC 4253 section 6).
func plainPacket(payload []byte) []byte {
	pad := 8 - (5+len(payload))%8
	if pad < 4 {
		pad += 8
	}
	packet := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+pad))
	packet = append(append(packet, byte(pad)), payload...)
	return append(packet, make([]byte, pad)...)
}

// TestTerrapin: with sshd the key exchange is strict, so that nobody can put a
// message in and take another away later: the connection is given up.
func TestTerrapin(t *testing.T) {
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	cfg := sshdConfigFor(t, sshd)
	cfg.KnownHosts, cfg.HostKeys = nil, []string{sshd.HostKey.Fingerprint()}
	for name, intrudes := range map[string]bool{"honest": false, "intruder": true} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.Name, cfg.Address = t.Name(), intruder(t, sshd.Addr(), intrudes)
			h := open(t, cfg, quick())
			err := h.Connect(t.Context())
			switch {
			case !intrudes && err != nil:
				t.Error(err)
			case !intrudes:
				if n := agreedWith(t, h); !n.StrictKex {
					t.Errorf("agreed on %+v", n)
				}
			case err == nil || !strings.Contains(err.Error(), "in the key exchange") || failure.CauseOf(err) != failure.CauseKeyExchange:
				t.Errorf("%v", err)
			default:
				t.Log(err)
			}
		})
	}
}
