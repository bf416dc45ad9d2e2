//go:build unix

package pool

import (
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/pipe"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestIdleChannelIsSmall measures the memory of channels that have carried a
// little both ways and then nothing, as an idle WebSocket's has.
func TestIdleChannelIsSmall(t *testing.T) {
	const (
		channels = 500
		// limit is for heap and stacks, x/crypto's part and this test's own
		// end of the connection included.
		limit = 20 << 10
	)
	// A real sshd: its memory is not in this process.
	d := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	h := open(t, cfg, quick())

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	handshake := make([]byte, 300)
	one := func() (ours, theirs net.Conn) {
		ours, err := dialFor(t, h, ln.Addr().String(), sshtest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		theirs = <-accepted
		for _, way := range [][2]net.Conn{{ours, theirs}, {theirs, ours}} {
			if _, err := way[0].Write(handshake); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way[1], handshake); err != nil {
				t.Fatal(err)
			}
		}
		return ours, theirs
	}
	keep := make([]net.Conn, 0, 2*channels+2)
	defer func() {
		for _, c := range keep {
			_ = c.Close()
		}
	}()
	ours, theirs := one() // the connection itself, and what is allocated but once
	keep = append(keep, ours, theirs)
	before := memoryInUse()
	for range channels {
		ours, theirs = one()
		keep = append(keep, ours, theirs)
	}
	each := (memoryInUse() - before) / channels
	t.Logf("%d bytes a channel", each)
	if each > limit {
		t.Errorf("an idle channel holds %d bytes, more than %d", each, limit)
	}
	runtime.KeepAlive(keep)
}

// TestIdlePipeIsSmall: nor do connections that are piped hold buffers.
func TestIdlePipeIsSmall(t *testing.T) {
	const (
		pipes = 200
		limit = 20 << 10 // two goroutines' stacks, mostly
	)
	var wg sync.WaitGroup
	var ends []net.Conn
	before := memoryInUse()
	for range pipes {
		a, b := net.Pipe()
		c, d := net.Pipe()
		wg.Go(func() { _, _, _ = pipe.Copy(b, c) })
		ends = append(ends, a, d)
	}
	for i := 0; i < len(ends); i += 2 {
		_, _ = ends[i].Write([]byte("hello"))
		if _, err := io.ReadFull(ends[i+1], make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
	}
	each := (memoryInUse() - before) / pipes
	t.Logf("%d bytes a pipe", each)
	if each > limit {
		t.Errorf("an idle pipe holds %d bytes, more than %d", each, limit)
	}
	for _, c := range ends {
		_ = c.Close()
	}
	wg.Wait()
}

// memoryInUse is what this process has on its heap and stacks.
func memoryInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first one only demotes what is pooled
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
