package tunnel

import "sync"

// news is what the log and the observer are yet to hear of an entry's
// connections. They hear of it in the order in which it happens, one after the
// other, and no lock is held meanwhile: one that is slow holds up no connection
// but the one that it hears of.
type news struct {
	// mu guards the fields below.
	mu      sync.Mutex
	waiting []func()
	// delivering tells that somebody runs deliver.
	delivering bool
}

// add puts a report behind those that wait. Whoever adds one calls deliver soon,
// without a lock.
func (n *news) add(report func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiting = append(n.waiting, report)
}

// deliver makes the reports that wait. If somebody else does already, it leaves
// them to them and returns at once.
func (n *news) deliver() {
	for report := n.next(true); report != nil; report = n.next(false) {
		report()
	}
}

// next returns the report that is to be made now. It returns nil if there is none,
// or, to who begins, if somebody else makes them.
func (n *news) next(begin bool) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if begin && n.delivering {
		return nil
	}
	n.delivering = len(n.waiting) > 0
	if !n.delivering {
		return nil
	}
	report := n.waiting[0]
	n.waiting = n.waiting[1:]
	return report
}
