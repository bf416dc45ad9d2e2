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
	dirs   map[string]bool
}

// New returns a Watch that watches nothing until Set. Its Close must be called.
func New() *Watch {
	notify := make(chan struct{}, 1)
	return &Watch{C: notify, notify: notify, dirs: map[string]bool{}}
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
var watchers = &hub{byDir: map[string]map[*Watch]bool{}}

// hub watches directories for all Watches together.
type hub struct {
	// mu guards fs, and is held while directories are added and removed.
	mu sync.Mutex
	// fs is nil while nothing is watched.
	fs *fsnotify.Watcher

	// dirsMu guards byDir. It is taken within mu, and never held while fs is
	// called: deliver needs it, and fs may wait for deliver.
	dirsMu sync.Mutex
	byDir  map[string]map[*Watch]bool
}

// set has w watch dirs and no other. It reports whether all of them are.
func (h *hub) set(w *Watch, dirs map[string]bool) (complete bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for dir := range w.dirs {
		if !dirs[dir] && h.forget(dir, w) && h.fs != nil {
			_ = h.fs.Remove(dir) // it is gone already if the directory is
		}
	}
	complete = true
	for dir := range dirs {
		h.remember(dir, w)
		complete = h.add(dir) && complete
	}
	w.dirs = dirs
	if h.fs != nil && h.unused() {
		_ = h.fs.Close()
		h.fs = nil
	}
	return complete
}

// add has fs watch a directory. One that it watches already is added again: it
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

// deliver tells the watches of what happens. It returns when fs is closed.
func (h *hub) deliver(fs *fsnotify.Watcher) {
	for {
		select {
		case event, ok := <-fs.Events:
			if !ok {
				return
			}
			h.tell(filepath.Dir(event.Name)) // of what is in it
			h.tell(event.Name)               // of the directory itself
		case _, ok := <-fs.Errors: // events were lost, perhaps
			if !ok {
				return
			}
			h.tellAll()
		}
	}
}

func (h *hub) tell(dir string) {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	for w := range h.byDir[dir] {
		w.tell()
	}
}

func (h *hub) tellAll() {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	for _, watches := range h.byDir {
		for w := range watches {
			w.tell()
		}
	}
}

func (w *Watch) tell() {
	select {
	case w.notify <- struct{}{}:
	default:
	}
}

func (h *hub) remember(dir string, w *Watch) {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	if h.byDir[dir] == nil {
		h.byDir[dir] = map[*Watch]bool{}
	}
	h.byDir[dir][w] = true
}

// forget reports whether w was the last that watched dir.
func (h *hub) forget(dir string, w *Watch) (last bool) {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	delete(h.byDir[dir], w)
	if len(h.byDir[dir]) > 0 {
		return false
	}
	delete(h.byDir, dir)
	return true
}

func (h *hub) unused() bool {
	h.dirsMu.Lock()
	defer h.dirsMu.Unlock()
	return len(h.byDir) == 0
}
