package pool

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestLostLinkIsNotAnEnd: a stream that is cut by the loss of its connection
// never ends with io.EOF, however the connection is lost (facts: x/crypto says
// io.EOF for both).
func TestLostLinkIsNotAnEnd(t *testing.T) {
	sshtest.Takes(t, 5*time.Second)
	t.Parallel()
	ways := map[string]func(b *bench){
		"kicked by the bastion": func(b *bench) { b.bastion.Kick() },
		"cut with FIN":          func(b *bench) { b.link.Cut() },
		"cut with RST":          func(b *bench) { b.link.Reset() },
	}
	for name, lose := range ways {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, quick(), nil)
			// The target sends a little and then waits for ever.
			addr := listen(t, func(c net.Conn) {
				_, _ = c.Write(make([]byte, 15360))
				_, _ = io.Copy(io.Discard, c)
			})
			for range 30 {
				var conns []*Conn
				for range 8 {
					conns = append(conns, mustDial(t, b.Pool, addr))
				}
				for _, c := range conns {
					if _, err := io.ReadFull(c, make([]byte, 15360)); err != nil {
						t.Fatal(err)
					}
				}
				lose(b)
				for _, c := range conns {
					_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
					_, err := c.Read(make([]byte, 1))
					wantLost(t, err)
					_ = c.Close()
				}
			}
		})
	}
}

// TestEndIsAnEnd: a target's own end of stream stays one.
func TestEndIsAnEnd(t *testing.T) {
	for _, s := range tunneltest.Servers {
		t.Run(s.Name, func(t *testing.T) {
			h := open(t, s.Start(t), quick())
			addr := listen(t, func(c net.Conn) { _, _ = c.Write([]byte("bye")) })
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					c, err := dialFor(t, h, addr, sshtest.Patience)
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
					if b, err := io.ReadAll(c); string(b) != "bye" || err != nil {
						t.Errorf("got %q, %v", b, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestEndWithoutAnswers: a bastion that answers no requests but is alive does
// not keep a stream from ending.
func TestEndWithoutAnswers(t *testing.T) {
	sshtest.Takes(t, 5*time.Second)
	b := newBench(t, quick(), nil)
	chatter := mustDial(t, b.Pool, listen(t, func(c net.Conn) {
		for {
			if _, err := c.Write([]byte(".")); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}))
	go func() { _, _ = io.Copy(io.Discard, chatter) }()
	b.bastion.Misbehave(sshtest.Faults{HoldRequests: true})
	c := mustDial(t, b.Pool, listen(t, func(c net.Conn) { _, _ = c.Write([]byte("bye")) }))
	_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
	if got, err := io.ReadAll(c); string(got) != "bye" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

// TestDyingLinkHangsNobody: opens, reads and writes that race with the death
// of their connection all return (facts: 7 hangs in 300 deaths with x/crypto
// as it is).
func TestDyingLinkHangsNobody(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	const deaths = 150
	b := newBench(t, quick(), nil)
	addr := listen(t, echo)
	var opened, died atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			buf := make([]byte, 512)
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := dialFor(t, b.Pool, addr, sshtest.Patience)
				if err != nil {
					if _, ok := errors.AsType[*failure.TimeoutError](err); ok {
						t.Errorf("dial: %v", err)
					}
					continue
				}
				opened.Add(1)
				_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
				for range 4 {
					if _, err = c.Write(buf); err == nil {
						_, err = io.ReadFull(c, buf)
					}
					if err != nil {
						var ne net.Error
						if errors.As(err, &ne) && ne.Timeout() {
							t.Errorf("hung: %v", err)
						}
						died.Add(1)
						break
					}
				}
				_ = c.Close()
			}
		})
	}
	for range deaths {
		before := opened.Load()
		sshtest.Eventually(t, 20*time.Second, "channels on a new connection", func() bool { return opened.Load() > before+3 })
		b.link.Reset()
	}
	close(stop)
	within(t, 20*time.Second, "the workers' end", wg.Wait)
	t.Logf("%d channels, %d of them cut, %d deaths", opened.Load(), died.Load(), deaths)
}

// TestNoClientRekey: with 64 channels whose server closes first, the connection
// is replaced over and over instead of being rekeyed, and nothing hangs or is
// lost (facts: x/crypto deadlocks for ever at a rekey of the client's).
func TestNoClientRekey(t *testing.T) {
	sshtest.Takes(t, 5*time.Second)
	if got := (&connect.Config{}).CryptoConfig().RekeyThreshold; got != 1<<63-1 {
		t.Fatalf("RekeyThreshold is %d: the client would rekey by itself", got)
	}
	set := quick()
	set.RekeyBytes = 4 << 20
	set.ServerAliveInterval = 40 * time.Millisecond // look often
	set.ServerAliveCountMax = 1000
	b := newBench(t, set, nil)
	load(t, b.Pool, 64, 4)
	if gen := b.Generation(); gen == 0 {
		t.Error("the connection was never replaced")
	}
	if logins := b.bastion.Stats().Logins; logins < 2 {
		t.Errorf("%d logins", logins)
	}
}

// load runs rounds of transfers on channels at once, each closed by the server
// first.
func load(t *testing.T, h *Pool, channels, rounds int) {
	t.Helper()
	const size = 128 << 10
	addr := listen(t, func(c net.Conn) {
		_, _ = io.CopyN(io.Discard, c, size)
		_, _ = c.Write(make([]byte, size))
	})
	var wg sync.WaitGroup
	for range channels {
		wg.Go(func() {
			for range rounds {
				c, err := dialFor(t, h, addr, 5*sshtest.Patience) // in turns with all others
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(5 * sshtest.Patience))
				if _, err := c.Write(make([]byte, size)); err != nil {
					t.Error(err)
				}
				if n, err := io.Copy(io.Discard, c); n != size || err != nil {
					t.Errorf("read %d of %d bytes: %v", n, size, err)
				}
				_ = c.Close()
			}
		})
	}
	within(t, 20*sshtest.Patience, "the load", wg.Wait)
}

// TestFrozenLinkIsNoticed: in-flight work on a frozen connection ends with an error
// once the keepalive has given up, and a new connection serves.
func TestFrozenLinkIsNoticed(t *testing.T) {
	sshtest.Takes(t, 3*time.Second)
	for _, d := range []struct {
		name string
		dir  sshtest.Direction
	}{{"both ways", sshtest.Up | sshtest.Down}, {"up", sshtest.Up}, {"down", sshtest.Down}} {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			set := quick()
			set.ServerAliveInterval, set.ServerAliveCountMax = 500*time.Millisecond, 4
			b := newBench(t, set, nil)
			addr := listen(t, echo)
			c := mustDial(t, b.Pool, addr)
			roundTrip(t, c)
			sshtest.Eventually(t, 10*time.Second, "an answer to a probe", func() bool { return b.Status().RTT > 0 })
			b.link.Freeze(d.dir)
			_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
			_, err := c.Read(make([]byte, 1))
			wantLost(t, err)
			b.link.Reset()
			b.link.Thaw(d.dir)
			roundTrip(t, mustDial(t, b.Pool, addr))
		})
	}
}

// TestUnaskedChannels: what the bastion opens towards us is refused, at once
// and however many there are.
func TestUnaskedChannels(t *testing.T) {
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Pool, listen(t, echo))
	conn := b.bastion.Conns()[0]
	for i := range 100 {
		_, _, err := conn.OpenChannel([]string{"forwarded-tcpip", "session", "x11", "auth-agent@openssh.com"}[i%4], nil)
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) || refused.Reason != ssh.Prohibited {
			t.Fatalf("open %d: %v", i, err)
		}
	}
	roundTrip(t, c)
}

// TestOpenErrors: each refusal has its own words.
func TestOpenErrors(t *testing.T) {
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, func(o *sshtest.BastionOptions) {
		o.PermitOpen = func(_, addr string) error {
			if addr == "secret:1" {
				return errors.New("no")
			}
			return nil
		}
	})
	h := open(t, configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr()), quick())
	for _, tt := range []struct {
		network, addr string
		reason        failure.OpenReason
	}{
		{"tcp", "secret:1", failure.OpenProhibited},
		{"tcp", "127.0.0.1:1", failure.OpenRefused},
		{"tcp", "no-such-host.invalid:80", failure.OpenUnknownName},
		{"unix", "/nonexistent/socket", failure.OpenFailed},
	} {
		_, err := h.Dial(t.Context(), Target{Network: tt.network, Address: tt.addr})
		var refused *failure.OpenError
		if !errors.As(err, &refused) || refused.Reason != tt.reason {
			t.Errorf("%s: got %v, want %s", tt.addr, err, tt.reason)
		}
	}
	for _, bad := range []Target{{Network: "tcp", Address: "web"}, {Network: "tcp", Address: "web:http"}, {Network: "tcp", Address: "web:0"}, {Network: "udp", Address: "web:1"}} {
		if _, err := h.Dial(t.Context(), bad); err == nil {
			t.Errorf("%+v was dialed", bad)
		}
	}
}
