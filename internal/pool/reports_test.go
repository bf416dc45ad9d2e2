package pool

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/wire"
)

// closer is an SSH connection that can be closed, and answers probes.
type closer struct{ ssh.Conn }

func (closer) Close() error { return nil }

func (closer) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	return nil, nil, &ssh.OpenChannelError{Reason: ssh.UnknownChannelType}
}

// mortal gives a member a wire that can die.
func mortal(t *testing.T, m *member) *member {
	ours, theirs := net.Pipe()
	m.client, m.attempt = sshconn.New(wire.New(ours, sshconn.StallAfter), closer{}, sshconn.About{}), &connect.Attempt{}
	t.Cleanup(func() {
		_ = theirs.Close()
		m.client.Close(io.EOF)
	})
	return m
}

// wantNames waits for as many events as are wanted and checks their names.
func wantNames(t *testing.T, o tunneltest.Events, want ...string) {
	t.Helper()
	var got []string
	for range want {
		got = append(got, o.Next(t).Name)
	}
	for len(o) > 0 {
		got = append(got, (<-o).Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// TestLostOnce: connections that die together are lost once. A connection that
// comes before the death of all of them has got about does not come before the
// news of it.
func TestLostOnce(t *testing.T) {
	t.Parallel()
	for _, heard := range []int{0, 1, 2, 3} { // how many deaths the pool hears of before
		var links []*member
		for range 3 {
			links = append(links, mortal(t, newTestMember(Request, 1, 0)))
		}
		p := crew(1, 8, slices.Clone(links)...)
		p.set.Lazy = true // it need not connect
		seen := make(tunneltest.Events, 10)
		p.set.Observer = seen
		logs := observed(&p.set)
		for _, m := range links {
			m.client.Close(io.EOF)
		}
		for _, m := range links[:heard] {
			p.lost(m, io.EOF)
		}
		fresh := mortal(t, newTestMember(anyClass, 0, 0))
		fresh.pool, fresh.host = p, p.failback.inUse
		p.connected(fresh, 0)
		for _, m := range links[heard:] {
			p.lost(m, io.EOF)
		}
		wantNames(t, seen, report.EventLost, report.EventConnected)
		if n := logs.FilterMessage("connection lost").Len(); n != 1 {
			t.Errorf("%d of 3 deaths known: the log tells %d times", heard, n)
		}
		if logs.FilterMessage("reconnected").Len() != 1 {
			t.Errorf("%d of 3 deaths known: no reconnect is logged", heard)
		}
	}
}

// TestLostAtOnce: a connection that dies while it is reported is lost after that.
func TestLostAtOnce(t *testing.T) {
	t.Parallel()
	fresh := mortal(t, newTestMember(anyClass, 0, 0))
	p := crew(1, 8)
	p.set.Lazy = true
	fresh.pool, fresh.host = p, p.failback.inUse
	seen := make(tunneltest.Events, 10)
	p.set.Observer = seen
	core, logs := observer.New(zapcore.InfoLevel)
	lost := func() bool { return logs.FilterMessage("connection lost").Len() > 0 }
	p.set.Logger = zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
		if entry.Message == "connected" {
			fresh.client.Close(io.EOF)
			for until := time.Now().Add(100 * time.Millisecond); !lost() && time.Now().Before(until); {
				time.Sleep(time.Millisecond)
			}
		}
		return nil
	}))
	p.connected(fresh, 0)
	sshtest.Eventually(t, 10*time.Second, "the loss", lost)
	wantNames(t, seen, report.EventConnected, report.EventLost)
}

// TestFailureBetweenFlaps: after a failure that was logged, so is its end.
func TestFailureBetweenFlaps(t *testing.T) {
	var set Settings
	logs := observed(&set)
	p := crew(1, 1)
	p.set.Logger = set.Logger
	for level := zapcore.WarnLevel; level > zapcore.DebugLevel; {
		level, _ = p.reports.LossLevel(0)
	}
	p.recordFailures([]connect.Failure{{Host: p.hosts[0].Host, Err: errors.New("connection refused")}}, "")
	if p.reports.FollowUp(zapcore.WarnLevel, 0) < zapcore.WarnLevel || logs.FilterLevelExact(zapcore.WarnLevel).Len() != 1 {
		t.Errorf("quiet after %v", logs.All())
	}
}
