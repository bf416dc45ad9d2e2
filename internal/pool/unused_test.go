package pool

import (
	"testing"
	"time"
)

// TestUnusedEnds: what ends connections without channels after the same time, and
// lets us in again at once, is a timeout; a restart is not.
func TestUnusedEnds(t *testing.T) {
	t.Parallel()
	type end struct {
		age, idle time.Duration
		// before it, after the one before: an attempt to connect has failed, or a
		// connection without channels has lived for a time.
		failed bool
		lived  time.Duration
	}
	minute := end{age: time.Minute, idle: time.Minute}
	for _, c := range []struct {
		name     string
		ends     []end
		onDemand bool
	}{
		{"one", []end{minute}, false},
		{"a timeout", []end{minute, minute}, true},
		{"a timeout of a connection that was used", []end{{age: time.Hour, idle: time.Minute}, {age: 61 * time.Second, idle: 61 * time.Second}}, true},
		{"other times", []end{minute, {age: 70 * time.Second, idle: 70 * time.Second}, minute}, false},
		{"restarts, each of which takes a moment", []end{minute, {minute.age, minute.idle, true, 0}, {minute.age, minute.idle, true, 0}}, false},
		{"one restart of two connections", []end{minute, {age: 2 * time.Minute, idle: time.Minute}}, false},
		{"one that has lived longer", []end{minute, {age: time.Hour, idle: time.Minute, lived: 2 * time.Minute}}, false},
		{"restarts that are days apart", []end{minute, {age: 100 * time.Hour, idle: time.Minute}}, false},
		{"so seldom that it costs nothing", []end{{age: 2 * time.Hour, idle: 2 * time.Hour}, {age: 2 * time.Hour, idle: 2 * time.Hour}}, false},
		{"a timeout that there is no more", []end{minute, minute, {age: time.Hour, idle: time.Minute, lived: 2 * time.Minute}}, false},
		{"a timeout, and an outage", []end{minute, minute, {minute.age, minute.idle, true, 0}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var u unusedEnds
			now, found := time.Now(), 0
			for i, e := range c.ends {
				if e.failed {
					u.failed()
				}
				if e.lived > 0 {
					u.lives(e.lived)
				}
				if i == 0 || e.age < e.idle || c.name != "one restart of two connections" {
					now = now.Add(e.age)
				}
				if u.ended(now, e.age, e.idle) {
					found++
				}
			}
			if u.onDemand != c.onDemand {
				t.Errorf("on demand: %t", u.onDemand)
			}
			if found > 1 || found == 0 && u.onDemand {
				t.Errorf("said %d times", found)
			}
		})
	}
}
