//go:build unix

package pool

import (
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// The benchmarks go through a real sshd, whose work counts in their times.
// Compare two versions in turns: other work on the machine weighs more than
// most changes do.

func benchTunnel(b *testing.B) *Pool {
	b.Helper()
	d := sshtest.StartSSHD(b, sshtest.SSHDOptions{})
	cfg := configFor(b, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
	cfg.User = d.User
	return open(b, cfg, quick())
}

// BenchmarkRoundTrip is a request and a response of 1 KiB each, by so many
// clients at once.
func BenchmarkRoundTrip(b *testing.B) {
	for _, clients := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			h := benchTunnel(b)
			addr := listen(b, echo)
			var left atomic.Int64
			left.Store(int64(b.N))
			var conns []*Conn
			for range clients {
				c := mustDial(b, h, addr)
				roundTrip(b, c)
				conns = append(conns, c)
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for _, c := range conns {
				wg.Go(func() {
					buf := make([]byte, 1<<10)
					for left.Add(-1) >= 0 {
						if _, err := c.Write(buf); err != nil {
							b.Error(err)
							return
						}
						if _, err := io.ReadFull(c, buf); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// BenchmarkBulk is one stream one way, 1 MiB an operation.
func BenchmarkBulk(b *testing.B) {
	const size = 1 << 20
	b.Run("down", func(b *testing.B) {
		c := mustDial(b, benchTunnel(b), listen(b, func(c net.Conn) {
			buf := make([]byte, size)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}))
		b.SetBytes(size)
		buf := make([]byte, 32<<10)
		for b.Loop() {
			for range size / len(buf) {
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("up", func(b *testing.B) {
		var took atomic.Int64
		c := mustDial(b, benchTunnel(b), listen(b, func(c net.Conn) {
			buf := make([]byte, size)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				took.Add(int64(n))
			}
		}))
		b.SetBytes(size)
		var written int64
		buf := make([]byte, 32<<10)
		for b.Loop() {
			for range size / len(buf) {
				n, err := c.Write(buf)
				if err != nil {
					b.Fatal(err)
				}
				written += int64(n)
			}
		}
		sshtest.Eventually(b, 10*time.Second, "the last bytes", func() bool { return took.Load() == written })
	})
}
