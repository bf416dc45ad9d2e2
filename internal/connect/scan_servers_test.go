//go:build unix

package connect

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// keyServer shows host keys to whoever connects, and counts connections.
func keyServer(t *testing.T, keys ...ssh.Signer) (addr string) {
	t.Helper()
	cfg := &ssh.ServerConfig{NoClientAuth: true}
	for _, k := range keys {
		cfg.AddHostKey(k)
	}
	return sshtest.Listen(t, func(c net.Conn) {
		if sc, _, _, err := ssh.NewServerConn(c, cfg); err == nil {
			t.Error("somebody has logged in")
			_ = sc.Close()
		}
	})
}

func scanned(keys []ssh.PublicKey) (list []string) {
	for _, k := range keys {
		list = append(list, k.Type()+" "+ssh.FingerprintSHA256(k))
	}
	slices.Sort(list)
	return list
}

func TestScan(t *testing.T) {
	rsa, ecdsa, ed := sshtest.NewRSAKey(2048), sshtest.NewECDSAKey(), sshtest.NewKey()
	certified, ca := sshtest.NewKey(), sshtest.NewKey()
	cert := sshtest.CertSigner(sshtest.Certify(ca, certified, ssh.Certificate{CertType: ssh.HostCert}), certified)
	for name, c := range map[string]struct {
		keys []ssh.Signer
		want []ssh.PublicKey
	}{
		"one":           {[]ssh.Signer{ed}, []ssh.PublicKey{ed.PublicKey()}},
		"each type":     {[]ssh.Signer{rsa, ecdsa, ed}, []ssh.PublicKey{rsa.PublicKey(), ecdsa.PublicKey(), ed.PublicKey()}},
		"a certificate": {[]ssh.Signer{rsa, cert}, []ssh.PublicKey{rsa.PublicKey(), certified.PublicKey()}},
	} {
		found, err := Scan(t.Context(), Config{Address: keyServer(t, c.keys...)}, nil, 10*time.Second)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := scanned(found.Keys), scanned(c.want); !slices.Equal(got, want) || found.Server != "SSH-2.0-Go" || len(found.Unread) > 0 {
			t.Errorf("%s: got %q of %q, and %q; want %q", name, got, found.Server, found.Unread, want)
		}
	}
}

// brokenKey is announced, and cannot sign.
type brokenKey struct{ *sshtest.Key }

func (brokenKey) SignWithAlgorithm(io.Reader, []byte, string) (*ssh.Signature, error) {
	return nil, errors.New("no key")
}

// TestScanBrokenKey: a Dropbear without an RSA key announces one all the same, and closes
// the connections of those who ask for it. That is no reason not to use its other key.
func TestScanBrokenKey(t *testing.T) {
	ed := sshtest.NewKey()
	addr := keyServer(t, brokenKey{sshtest.NewRSAKey(2048)}, ed)
	found, err := Scan(t.Context(), Config{Address: addr}, nil, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := scanned(found.Keys), scanned([]ssh.PublicKey{ed.PublicKey()}); !slices.Equal(got, want) || !slices.Contains(found.Unread, "rsa-sha2-256") {
		t.Errorf("got %q, and %q; want %q", got, found.Unread, want)
	}
}

// TestScanSSHD scans OpenSSH and dropbear.
func TestScanSSHD(t *testing.T) {
	ecdsa := sshtest.WriteFile(t, "ecdsa", sshtest.NewECDSAKey().PEM(""))
	sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "HostKey " + ecdsa + "\n"})
	found, err := Scan(t.Context(), Config{Address: sshd.Addr()}, nil, 10*time.Second)
	if err != nil || len(found.Keys) != 2 || !strings.HasPrefix(found.Server, "SSH-2.0-OpenSSH_") {
		t.Errorf("got %+v %v", found, err)
	}
}

// TestScanTrouble: no server keeps a scan for longer than its time, and each
// error has a cause.
func TestScanTrouble(t *testing.T) {
	forever := func(text string, every time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			defer func() { _ = c.Close() }()
			for {
				if _, err := io.WriteString(c, text); err != nil {
					return
				}
				time.Sleep(every)
			}
		}
	}
	once := func(data []byte) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Write(data)
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}
	}
	for name, c := range map[string]struct {
		serve func(net.Conn)
		cause failure.Cause
	}{
		"silent":         {func(c net.Conn) { _, _ = io.Copy(io.Discard, c); _ = c.Close() }, failure.CauseNoBanner},
		"closes":         {func(c net.Conn) { _ = c.Close() }, failure.CauseNoBanner},
		"HTTP":           {once([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), failure.CauseNotSSH},
		"endless lines":  {forever("hello\r\n", 0), failure.CauseNotSSH},
		"trickle":        {forever("x", 20*time.Millisecond), failure.CauseNotSSH},
		"no key":         {once([]byte("SSH-2.0-x\r\n")), failure.CauseKeyExchange},
		"noise":          {once(append([]byte("SSH-2.0-x\r\n"), bytes.Repeat([]byte{0xff}, 1000)...)), failure.CauseKeyExchange},
		"unknown keys":   {once(greeting("SSH-2.0-x\r\n", "ssh-ed448")), failure.CauseKeyExchange},
		"endless banner": {forever("SSH-2.0-", 0), failure.CauseKeyExchange},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := 2 * time.Second
			switch name {
			case "silent":
				timeout /= 10
			case "HTTP", "trickle", "no key": // they end with the timeout
				sshtest.Takes(t, timeout)
			}
			found, err := Scan(t.Context(), Config{Address: sshtest.Listen(t, c.serve)}, nil, timeout)
			if err == nil || failure.CauseOf(err) != c.cause {
				t.Errorf("%+v %v, cause %q, want %q", found, err, failure.CauseOf(err), c.cause)
			}
		})
	}
	if _, err := Scan(t.Context(), Config{Address: "127.0.0.1:1"}, nil, time.Second); failure.CauseOf(err) != failure.CauseRefused {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	addr := sshtest.Listen(t, func(c net.Conn) {
		cancel(stopped)
		_, _ = io.Copy(io.Discard, c)
	})
	if _, err := Scan(ctx, Config{Address: addr}, nil, time.Minute); !errors.Is(err, stopped) {
		t.Errorf("stopped: %v", err)
	}
}

// greeting is what a server begins with that has host key algorithms.
func greeting(banner string, algos ...string) []byte {
	payload := ssh.Marshal(wire.KexInit{KexAlgorithms: []string{"curve25519-sha256"}, HostKeyAlgorithms: algos})
	const padding = 4
	packet := binary.BigEndian.AppendUint32([]byte(banner), uint32(len(payload)+1+padding))
	packet = append(append(packet, padding), payload...)
	return append(packet, make([]byte, padding)...)
}
