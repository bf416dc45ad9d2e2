// Package filewatch tells when files may have changed: were written, replaced,
// removed, or made where there was none.
//
// It watches directories, not files. A file that is replaced by rename(2) is
// another one, and one that does not exist cannot be watched; and where a path
// leads through symbolic links, as Kubernetes mounts secrets, what changes is a
// link. Which file has changed, if any has, is left to the caller to see.
//
// All watches share one fsnotify.Watcher: Linux gives a user 128 of them.
package filewatch

import (
	"maps"
	"path/filepath"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// Watch watches the paths of one caller, who calls its methods one at a time.
type Watch struct {
	// C receives when something has happened in a directory that one of the
	// paths leads through: once, however much that is, until it is received.
	C <-chan struct{}

	notify chan struct{}
}

// New returns a Watch that watches nothing until Set. Its Close must be called.
func New() *Watch {
	notify := make(chan struct{}, 1)
	return &Watch{C: notify, notify: notify}
}

// Set watches the paths from now on, in place of those before. The directories
// that they lead through change with what happens in them, so it is to be called
// with the same paths after each receive from C, before the files are looked at.
//
// It is not complete if a change is bound to be missed: a directory does not
// exist, or cannot be watched. Then the caller must look at the files often; else
// now and then, since network file systems do not report everything, and nobody
// reports a directory further up that is renamed.
func (w *Watch) Set(paths []string) (complete bool) {
	complete = true
	dirs := map[string]bool{}
	for _, path := range paths {
		through, ok := directories(path)
		complete = complete && ok
		for _, dir := range through {
			dirs[dir] = true
		}
	}
	return watchers.set(w, dirs) && complete
}

// Close ends the watching.
func (w *Watch) Close() { watchers.set(w, nil) }

// watchers are all of this process.
var watchers = &hub{dirs: map[*Watch]map[string]bool{}}

// hub watches directories for all Watches together.
type hub struct {
	// mu guards fs, and is held while directories are added and removed.
	mu sync.Mutex
	// fs is nil while nothing is watched.
	fs *fsnotify.Watcher

	// dirsMu guards dirs, which change with mu held as well. It is never held while fs is
	// called: deliver needs it, and fs may wait for deliver.
	dirsMu sync.Mutex
	dirs   map[*Watch]map[string]bool
}

// set makes w watch dirs and no other. It reports whether all of them are watched.
func (h *hub) set(w *Watch, dirs map[string]bool) (complete bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, dir := range h.replace(w, dirs) {
		if h.fs != nil {
			_ = h.fs.Remove(dir) // it is gone already if the directory is
		}
	}
	complete = true
	for dir := range dirs {
		complete = h.add(dir) && complete
	}
	if h.fs != nil && len(h.dirs) == 0 {
		_ = h.fs.Close()
		h.fs = nil
	}
	return complete
}

// replace sets what w watches, and returns those directories that no Watch does any more.
func (h *hub) replace(w *Watch, dirs map[string]bool) (unused []string) {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	before := h.dirs[w]
	delete(h.dirs, w)
	if len(dirs) > 0 {
		h.dirs[w] = dirs
	}
	used := map[string]bool{}
	for _, watched := range h.dirs {
		maps.Copy(used, watched)
	}
	for dir := range before {
		if !used[dir] {
			unused = append(unused, dir)
		}
	}
	return unused
}

// add makes fs watch a directory. One that it watches already is added again: it
// may be another directory of the same name. The caller holds mu.
func (h *hub) add(dir string) bool {
	if h.fs == nil {
		fs, err := fsnotify.NewWatcher()
		if err != nil {
			return false
		}
		h.fs = fs
		go h.deliver(fs)
	}
	return h.fs.Add(dir) == nil
}

// deliver notifies the watches of what happens. It returns when fs is closed.
func (h *hub) deliver(fs *fsnotify.Watcher) {
	for {
		select {
		case event, ok := <-fs.Events:
			if !ok {
				return
			}
			in := filepath.Dir(event.Name) // or it is of the directory itself
			h.notify(func(dirs map[string]bool) bool { return dirs[in] || dirs[event.Name] })
		case _, ok := <-fs.Errors: // events were lost, perhaps
			if !ok {
				return
			}
			h.notify(func(map[string]bool) bool { return true })
		}
	}
}

// notify notifies the watches whose directories concern it.
func (h *hub) notify(concerns func(dirs map[string]bool) bool) {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	for w, dirs := range h.dirs {
		if !concerns(dirs) {
			continue
		}
		select {
		case w.notify <- struct{}{}:
		default:
		}
	}
}
