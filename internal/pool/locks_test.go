package pool

import (
	"io"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// locks_test.go has what may take its time take it, and looks for anybody who waits
// for a lock meanwhile.

// TestSlowLog: a log that takes its time holds up nobody but who writes to it, and
// what happens meanwhile is reported in order.
func TestSlowLog(t *testing.T) {
	t.Parallel()
	first, second := mortal(t, newTestMember(Request, 1, 0)), mortal(t, newTestMember(Stream, 1, 0))
	p := crew(1, 8, first, second)
	p.set.Lazy = true // it need not connect
	seen := make(tunneltest.Events, 10)
	p.set.Observer = seen
	writing, written := make(chan struct{}), make(chan struct{})
	core, logs := observer.New(zapcore.DebugLevel)
	p.set.Logger = zap.New(core, zap.Hooks(func(entry zapcore.Entry) error {
		if entry.Message == "connection lost; others serve" {
			close(writing)
			<-written
		}
		return nil
	}))
	done := make(chan struct{})
	// Returns when the log has been written.
	go func() {
		defer close(done)
		first.client.Close(io.EOF)
		p.lost(first, io.EOF)
	}()
	<-writing
	within(t, 10*time.Second, "the loss of another connection", func() {
		second.client.Close(io.EOF)
		p.lost(second, io.EOF)
	})
	within(t, 10*time.Second, "a connection", func() {
		fresh := mortal(t, newTestMember(anyClass, 0, 0))
		fresh.pool, fresh.host = p, p.failback.inUse
		p.connected(fresh, 0)
	})
	if n := len(p.activeMembers()); n != 1 {
		t.Errorf("%d connections take channels", n)
	}
	close(written)
	<-done
	wantNames(t, seen, report.EventLost, report.EventConnected)
	var told []string
	for _, entry := range logs.All() {
		told = append(told, entry.Message)
	}
	if len(told) != 3 || told[0] != "connection lost; others serve" || told[1] != "connection lost" || told[2] != "reconnected" {
		t.Errorf("the log says %q", told)
	}
}
