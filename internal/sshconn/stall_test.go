package sshconn

import (
	"testing"
	"time"
)

// TestBlame: the open that a connection has stalled over is the first that was sent
// since the bastion last had time for others.
func TestBlame(t *testing.T) {
	t.Parallel()
	var p lookups
	first, second, third := new(opening), new(opening), new(opening)
	p.begin(first, "blackhole.internal", time.Second)
	p.begin(second, "dead.internal", 10*time.Second)
	p.begin(third, "web.internal", 11*time.Second)
	p.begin(new(opening), "", 12*time.Second) // an address
	if name := p.blame(9 * time.Second); name != "dead.internal" || !p.isCulprit(second) || p.isCulprit(third) {
		t.Errorf("blamed %q", name)
	}
	if name := p.blame(20 * time.Second); name != "blackhole.internal" || !p.isCulprit(first) {
		t.Errorf("blamed %q where none was sent since", name)
	}
	if took := p.end(second, 12*time.Second); took != 2*time.Second {
		t.Errorf("it took %s", took)
	}
	if name := p.blame(9 * time.Second); name != "web.internal" {
		t.Errorf("blamed %q of those that are left", name)
	}
}
