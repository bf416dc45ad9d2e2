package tunnel

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/loglimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// downTunnel runs f in simulated time with a tunnel whose every connect fails
// as spoil makes it, and the times at which that happened.
func downTunnel(t *testing.T, spoil func(*Config), f func(t *testing.T, h *Handle, attempts func() []time.Duration, set Settings)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		var set Settings
		logs := observed(&set)
		set = set.WithDefaults()
		start := time.Now()
		cfg := Config{Name: "test", Address: t.Name() + ":22", User: "u", HostKeys: []string{sshtest.NewKey().Fingerprint()}}
		spoil(&cfg)
		h := Open(cfg, set, nil)
		f(t, h, func() (at []time.Duration) {
			for _, e := range logs.FilterMessage("connecting failed; will retry").All() {
				if e.ContextMap()["shared"] == nil { // another tunnel's
					at = append(at, e.Time.Sub(start))
				}
			}
			return at
		}, set)
		h.Close()
		time.Sleep(time.Second) // an attempt under way ends within its deathGrace
		synctest.Wait()
	})
}

var errRefusedPort = errors.New("connection refused")

// refusedPort is a bastion that is not there.
func refusedPort(cfg *Config) {
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errRefusedPort }
}

// badBanner is a bastion that says hello and no more.
func badBanner(cfg *Config) {
	cfg.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			_, _ = theirs.Read(make([]byte, 1024)) // a pipe has no buffer: the client's version goes first
			_, _ = theirs.Write([]byte("SSH-2.0-broken\r\n"))
		}()
		return ours, nil
	}
}

// refusedLogin is a bastion that would never be let in, or let us in.
func refusedLogin(cfg *Config) {
	cfg.HostKeys = []string{"not a key"}
}

// TestBackoffNetwork: nobody asks, so attempts are at most connlimit.NetworkMax apart,
// and never a storm.
func TestBackoffNetwork(t *testing.T) {
	downTunnel(t, refusedPort, func(t *testing.T, h *Handle, attempts func() []time.Duration, set Settings) {
		h.Start()
		time.Sleep(time.Hour)
		made := attempts()
		n := len(made)
		if least := int(time.Hour / connlimit.NetworkMax); n < least || n > least*3/2+10 {
			t.Errorf("%d attempts in an hour", n)
		}
		for i := 1; i < n; i++ {
			if gap := made[i] - made[i-1]; gap > connlimit.NetworkMax || gap < set.ReconnectMin*3/4 {
				t.Fatalf("attempt %d came after %s", i, gap)
			}
		}
	})
}

// TestBackoffAsked: dials bring attempts once a second, however many ask, and
// each fails at once with the cause.
func TestBackoffAsked(t *testing.T) {
	downTunnel(t, refusedPort, func(t *testing.T, h *Handle, attempts func() []time.Duration, _ Settings) {
		h.Start()
		time.Sleep(time.Minute) // into the longest delay
		before := len(attempts())
		for range 600 {
			start := time.Now()
			_, err := h.Dial(t.Context(), Target{Network: "tcp", Address: "web:80"})
			var down *DownError
			if !errors.As(err, &down) || !errors.Is(err, errRefusedPort) || time.Since(start) != 0 {
				t.Fatalf("after %s: %v", time.Since(start), err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(attempts()) - before; n < 55 || n > 61 {
			t.Errorf("%d attempts in a minute of asking, want 60", n)
		}
	})
}

// TestBackoffRefused: what is refused is tried three more times and then every
// ten minutes, whoever asks, and across configurations.
func TestBackoffRefused(t *testing.T) {
	downTunnel(t, refusedLogin, func(t *testing.T, h *Handle, attempts func() []time.Duration, set Settings) {
		h.Start()
		for range 3600 {
			_, _ = h.Dial(t.Context(), Target{Network: "tcp", Address: "web:80"})
			time.Sleep(time.Second)
		}
		if n := len(attempts()); n < 4+5 || n > 4+8 {
			t.Errorf("%d attempts in an hour", n)
		}
		got := attempts()[:4]
		for i, want := range []time.Duration{0, time.Second, 4 * time.Second, 10 * time.Second} {
			if got[i] != want {
				t.Errorf("attempts at %v, want 0s 1s 4s 10s", got)
				break
			}
		}
		// A configuration that comes and goes does not get around it: there is the
		// attempt that is due, if one is.
		n := len(attempts())
		for range 20 {
			again := Open(h.cfg, set, nil)
			again.Start()
			h.Close()
			h = again
			time.Sleep(time.Second)
		}
		if more := len(attempts()) - n; more > 1 {
			t.Errorf("reloads brought %d attempts", more)
		}
		n = len(attempts())
		h.Close()
		synctest.Wait()
		fresh := Open(h.cfg, set, nil)
		defer fresh.Close()
		fresh.Start()
		_, err := fresh.Dial(t.Context(), Target{Network: "tcp", Address: "web:80"})
		if _, ok := errors.AsType[*DownError](err); !ok {
			t.Errorf("got %v", err)
		}
		if more := len(attempts()) - n; more > 1 {
			t.Errorf("a new start brought %d attempts", more)
		}
	})
}

// TestBackoffProtocol: failures after the banner are given up to
// reconnect_delay's maximum, and asking hastens them little.
func TestBackoffProtocol(t *testing.T) {
	downTunnel(t, badBanner, func(t *testing.T, h *Handle, attempts func() []time.Duration, set Settings) {
		h.Start()
		time.Sleep(time.Hour)
		last := attempts()[len(attempts())-2:]
		if gap := last[1] - last[0]; gap > set.ReconnectMax || gap < set.ReconnectMax/2 {
			t.Errorf("attempts are %s apart after an hour", gap)
		}
		before := len(attempts())
		for range 60 {
			_, _ = h.Dial(t.Context(), Target{Network: "tcp", Address: "web:80"})
			time.Sleep(time.Second)
		}
		if n := len(attempts()) - before; n > 13 {
			t.Errorf("%d attempts in a minute of asking", n)
		}
	})
}

// TestFailureLogDoesNotFlood: a bastion that is down for a day with requests
// coming is a warning now and then.
func TestFailureLogDoesNotFlood(t *testing.T) {
	for _, lazy := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			set := Settings{Lazy: lazy}
			logs := observed(&set)
			cfg := Config{Name: "test", Address: t.Name() + ":22"}
			refusedPort(&cfg)
			h := Open(cfg, set, nil)
			h.Start()
			for range 6 * 60 {
				_, _ = h.Dial(t.Context(), Target{Network: "tcp", Address: "web:80"})
				time.Sleep(time.Minute)
			}
			h.Close()
			synctest.Wait()
			loud := 0
			for _, e := range logs.All() {
				if e.Level >= zapcore.InfoLevel {
					loud++
				}
			}
			if most := int(6*time.Hour/loglimit.Period) + 5; loud == 0 || loud > most {
				t.Errorf("lazy %t: %d lines at info or above in six hours, want at most %d", lazy, loud, most)
			}
		})
	}
}

// TestDialTimesOutWhileConnecting: a dial's context bounds its wait, and what
// it waited for is in the error.
func TestDialTimesOutWhileConnecting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := Config{Name: "test", Address: t.Name() + ":22", DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		h := Open(cfg, Settings{}, nil)
		h.Start()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := h.Dial(ctx, Target{Network: "tcp", Address: "web:80"})
		var timeout *TimeoutError
		if !errors.As(err, &timeout) || time.Since(start) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		// The attempt itself ends at connect_timeout; from then on dials fail at once.
		time.Sleep(7*time.Second + time.Millisecond)
		_, err = h.Dial(t.Context(), Target{Network: "tcp", Address: "web:80"})
		if _, ok := errors.AsType[*DownError](err); !ok {
			t.Errorf("got %v", err)
		}
		h.Close()
		synctest.Wait()
	})
}
