package subprocess

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// all are the commands of this process.
var all struct {
	// mu guards what is below.
	mu sync.Mutex
	// running are those that have not ended.
	running map[*Process]bool
	// ended says that no more are started.
	ended bool
}

// register notes a command that is about to start. It ends it if no more are started.
func register(p *Process) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.running == nil {
		all.running = make(map[*Process]bool)
	}
	all.running[p] = true
	if all.ended {
		p.End()
	}
}

// unregister notes that a command has ended, or was not started.
func unregister(p *Process) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.running, p)
}

// EndForGood ends all commands as EndAll does, and those that are started later, since this
// process is about to exit.
func EndForGood() {
	all.mu.Lock()
	all.ended = true
	all.mu.Unlock()
	EndAll()
}

// EndAll ends the commands that run. It waits until they have ended, for little longer than
// Grace at most.
func EndAll() {
	all.mu.Lock()
	running := slices.Collect(maps.Keys(all.running))
	all.mu.Unlock()
	for _, p := range running {
		p.End()
	}
	timeout := time.After(Grace + Grace/2)
	for _, p := range running {
		select {
		case <-p.ended:
		case <-timeout:
			return
		}
	}
}
