package tunnel

import (
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// TestOutlived: a connection that takes the place of one before the death of
// that has got about is a reconnect all the same, and that one was lost.
func TestOutlived(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	dead := member(forRequests, 1, 0)
	dead.wire = newWire(ours)
	dead.wire.die(io.EOF)
	e := crew(1, 8, dead)
	logs := observed(&e.set)
	e.set.Lazy = true // it need not connect

	fresh := member(undecided, 0, 0)
	fresh.entry, fresh.host = e, e.inUse
	msg, fields := e.takeOver(fresh)
	if msg != "reconnected" || len(fields) != 1 || fields[0].Key != "downtime" || fields[0].Type != zapcore.DurationType || time.Duration(fields[0].Integer) <= 0 {
		t.Errorf("%q, %v", msg, fields)
	}
	e.logLost(dead, io.EOF)
	if n := logs.FilterMessage("lost").Len(); n != 1 {
		t.Errorf("it says %v", logs.All())
	}
}
