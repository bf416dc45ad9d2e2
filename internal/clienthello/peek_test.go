package clienthello

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
)

// inPieces writes to conn so many bytes at a time. It returns when all is
// written, or conn is closed.
func inPieces(conn net.Conn, data []byte, size int, pause time.Duration) {
	for piece := range slices.Chunk(data, size) {
		if _, err := conn.Write(piece); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// TestPeekHello has clients say one thing, and then another that is nobody's
// business: both must be there afterwards.
func TestPeekHello(t *testing.T) {
	hello := caddytest.HelloTo(t, "git.example.com")
	ssl := append([]byte{22, 3, 1, 0, 200}, bytes.Repeat([]byte{0xff}, 200)...)
	endless := caddytest.InRecords(append([]byte{22, 3, 1, 0, 0, 1, 0, 0xf0, 0}, make([]byte, 40_000)...), 4000)
	for name, tt := range map[string]struct {
		say   []byte
		piece int // how many bytes to write at a time
		err   string
	}{
		"hello":                       {say: hello},
		"hello in 50-byte records":    {say: caddytest.InRecords(hello, 50)},
		"hello in 1-byte records":     {say: caddytest.InRecords(hello, 1)},
		"hello byte by byte":          {say: hello, piece: 1},
		"records byte by byte":        {say: caddytest.InRecords(hello, 7), piece: 1},
		"HTTP":                        {say: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), err: "not TLS"},
		"HTTP byte by byte":           {say: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), piece: 1, err: "not TLS"},
		"SSH":                         {say: []byte("SSH-2.0-OpenSSH_9.2\r\n"), err: "not TLS"},
		"one byte":                    {say: []byte("\n"), err: "not TLS"},
		"a TLS alert":                 {say: []byte{21, 3, 1, 0, 2, 2, 40}, err: "not TLS"},
		"garbage in a record":         {say: ssl, err: "exceeds maximum"},
		"garbage after half a hello":  {say: append(bytes.Clone(hello[:100]), make([]byte, len(hello))...), err: "tls: "},
		"a record that is too long":   {say: []byte{22, 3, 1, 0xff, 0xff, 1, 0, 0, 0}, err: "oversized"},
		"a message that is too long":  {say: []byte{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff}, err: "exceeds maximum"},
		"a hello without end":         {say: endless, err: "no end of the ClientHello"},
		"another handshake message":   {say: []byte{22, 3, 1, 0, 4, 0, 0, 0, 0}, err: "unexpected"},
		"empty records without end":   {say: bytes.Repeat([]byte{22, 3, 1, 0, 0}, 40), err: "unexpected message"},
		"a hello, and nothing proper": {say: append(bytes.Clone(hello), "GET / HTTP/1.1\r\n"...)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer server.Close()
				go func() {
					defer client.Close()
					inPieces(client, append(bytes.Clone(tt.say), "and more"...), cmp.Or(tt.piece, len(tt.say)+8), 0)
				}()
				start := time.Now()
				got, whole, err := peekHello(t.Context(), server)
				switch {
				case tt.err == "" && err != nil:
					t.Errorf("got error %v", err)
				case tt.err != "" && (err == nil || got != nil || !strings.Contains(err.Error(), tt.err)):
					t.Errorf("got %v, error %v; want one with %q", got, err, tt.err)
				case tt.err == "" && (got.ServerName != "git.example.com" || len(got.SupportedProtos) != 1 || got.Conn.RemoteAddr() == nil):
					t.Errorf("got %+v", got)
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("took %s", took)
				}
				if all, err := io.ReadAll(whole); err != nil || string(all) != string(tt.say)+"and more" {
					t.Errorf("got %d bytes back of %d (%v)", len(all), len(tt.say)+8, err)
				}
			})
		})
	}
}

// TestPeekHelloSlow: whoever is slow, or waits for the server to speak, is
// waited for no longer than there is time; then nothing is lost.
func TestPeekHelloSlow(t *testing.T) {
	hello := caddytest.HelloTo(t, "git.example.com")
	for name, say := range map[string][]byte{"silent": nil, "one byte a second": hello} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer server.Close()
				go func() {
					defer client.Close()
					inPieces(client, say, 1, time.Second)
					_, _ = io.ReadFull(client, make([]byte, 4))
					_, _ = io.WriteString(client, "bye")
				}()
				ctx, cancel := context.WithTimeout(t.Context(), helloTimeout)
				defer cancel()
				start := time.Now()
				got, whole, err := peekHello(ctx, server)
				if got != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("got %v, error %v", got, err)
				}
				if took := time.Since(start); took != helloTimeout {
					t.Errorf("took %s", took)
				}
				go func() { _, _ = io.WriteString(whole, "220 ") }()
				if all, err := io.ReadAll(whole); err != nil || string(all) != string(say)+"bye" {
					t.Errorf("got %d bytes back (%v)", len(all), err)
				}
			})
		})
	}
}

// TestPeekHelloReset: a reset in the middle of a ClientHello is one for the
// connection's reader, too.
func TestPeekHelloReset(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client := caddytest.DialTCP(t, ln.Addr().String())
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if _, err := client.Write([]byte{22, 3, 1}); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() {
		_ = client.SetLinger(0)
		_ = client.Close()
	})
	_, whole, err := peekHello(t.Context(), server)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got error %v", err)
	}
	if all, err := io.ReadAll(whole); !bytes.Equal(all, []byte{22, 3, 1}) || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v back, then %v", all, err)
	}
}

func FuzzPeekHello(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff})
	f.Add(append([]byte{22, 3, 1, 0, 200}, make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, say []byte) {
		client, server := net.Pipe()
		defer server.Close()
		go func() {
			defer client.Close()
			_, _ = client.Write(say)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), helloTimeout)
		defer cancel()
		_, whole, err := peekHello(ctx, server)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: no decision", say)
		}
		if all, err := io.ReadAll(whole); err != nil || !bytes.Equal(all, say) {
			t.Errorf("got %q back of %q (%v)", all, say, err)
		}
	})
}
