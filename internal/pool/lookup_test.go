package pool

import (
	"fmt"
	"testing"
	"time"
)

// TestLookupClass: what is looked up on a connection apart.
func TestLookupClass(t *testing.T) {
	t.Parallel()
	p := crew(1, 8, newTestMember(anyClass, 0, 0))
	p.slow.add("slow.internal", time.Now())
	for _, c := range []struct {
		target Target
		want   Class
	}{
		{Target{Network: "tcp", Address: "web.internal:80"}, Request},
		{Target{Network: "tcp", Address: "web.internal:80", Class: Stream}, Stream},
		{Target{Network: "tcp", Address: "web.internal:80", Class: Stream, ByClient: true}, lookupClass},
		{Target{Network: "tcp", Address: "web.internal:80", ByClient: true}, lookupClass},
		{Target{Network: "tcp", Address: "192.0.2.1:80", Class: Stream, ByClient: true}, Stream},
		{Target{Network: "tcp", Address: "[2001:db8::1]:80", ByClient: true}, Request},
		{Target{Network: "unix", Address: "/run/web.sock", ByClient: true}, Request},
		{Target{Network: "tcp", Address: "slow.internal:80", ByClient: true}, lookupClass},
		{Target{Network: "tcp", Address: "SLOW.internal:80"}, slowClass},
	} {
		r, err := newOpenRequest(c.target)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.classOf(r); got != c.want {
			t.Errorf("%+v: class %d, want %d", c.target, got, c.want)
		}
	}
	p.members[0].LookedUp("slow.internal")
	if p.slow.has("slow.internal") {
		t.Error("a name that was looked up fast is still slow")
	}
}

// TestLookupWaits: a lookup waits for a connection of its own, and shares one only where
// none can be had.
func TestLookupWaits(t *testing.T) {
	t.Parallel()
	placement := func() *placement { return &placement{line: lineKey{class: lookupClass, target: "a.example:80"}} }
	p := crew(1, 8, newTestMember(anyClass, 0, 0))
	if m, err := p.place(placement()); m != nil || err != nil || p.growth.lack[lookupClass] == "" {
		t.Errorf("placed on %+v, %v; it lacks %v", m, err, p.growth.lack)
	}
	if r, _ := p.wantedClass(); r != lookupClass {
		t.Errorf("grows for role %d", r)
	}
	p.growth.state = growthFailed
	if m, err := p.place(placement()); m != p.members[0] || err != nil {
		t.Errorf("where no connection can be added: %+v, %v", m, err)
	}
}

// TestSlowNameBesideLookups: a name of the configuration that counts as slow does not
// wait for the connections that names of clients have stalled.
func TestSlowNameBesideLookups(t *testing.T) {
	t.Parallel()
	stalled := newTestMember(lookupClass, 1, 0)
	stalled.stall.since = time.Now()
	p := crew(1, 2, newTestMember(anyClass, 0, 0), stalled)
	slow := &placement{line: lineKey{class: slowClass, target: "web.internal:80"}}
	if m, err := p.place(slow); m != nil || err != nil {
		t.Errorf("placed on %+v, %v", m, err)
	}
	if r, _ := p.wantedClass(); r != slowClass {
		t.Errorf("grows for role %d", r)
	}
	own := newTestMember(slowClass, 0, 0)
	own.pool = p
	p.members = append(p.members, own)
	if m, err := p.place(slow); m != own || err != nil {
		t.Errorf("placed on %+v, %v", m, err)
	}
	client := &placement{line: lineKey{class: lookupClass, target: "dead.internal:80"}}
	if m, err := p.place(client); m != nil || err != nil {
		t.Errorf("what a client chose is on %+v, %v", m, err)
	}
}

func TestSlowNames(t *testing.T) {
	t.Parallel()
	var s slowNames
	start := time.Now()
	s.add("old.internal", start.Add(-slowFor))
	for i := range 2 * maxSlowNames {
		s.add(fmt.Sprintf("n%d.internal", i), start)
	}
	if len(s) != maxSlowNames || s.has("old.internal") || !s.has("n0.internal") {
		t.Errorf("%d names, old %v, first %v", len(s), s.has("old.internal"), s.has("n0.internal"))
	}
}
