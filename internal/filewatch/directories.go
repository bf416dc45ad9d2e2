package filewatch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links a path may lead through, as on Linux
// (path_resolution(7)).
const maxLinks = 40

// directories returns those directories in which a change can make path another
// file: the one that it is in, and those of the symbolic links on the way. It is
// not complete if path leads nowhere because a directory is missing. Those further up
// are left out: somebody would have to rename one, and / and /tmp are busy.
func directories(path string) (dirs []string, complete bool) {
	// Abs would take "..", and what is before it, out of a path that has no need
	// of it: what is before it may be a link.
	if !filepath.IsAbs(path) {
		var err error
		if path, err = filepath.Abs(path); err != nil {
			return nil, false
		}
	}
	at, rest := split(path)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at) // of no link: those were followed
			continue
		}
		next := filepath.Join(at, name)
		info, err := os.Lstat(next)
		switch {
		case err != nil:
			return append(dirs, at), len(rest) == 0 && errors.Is(err, fs.ErrNotExist)
		case info.Mode()&fs.ModeSymlink != 0:
			dirs = append(dirs, at)
			target, err := os.Readlink(next)
			if links++; err != nil || links > maxLinks {
				return dirs, false
			}
			var names []string
			if filepath.IsAbs(target) {
				at, names = split(target)
			} else {
				names = strings.Split(filepath.ToSlash(target), "/")
			}
			rest = append(names, rest...)
		case len(rest) == 0:
			dirs = append(dirs, at)
		default:
			at = next
		}
	}
	return dirs, true
}

// split returns the root that an absolute path starts at, and the names below.
func split(path string) (root string, names []string) {
	volume := filepath.VolumeName(path)
	names = strings.Split(filepath.ToSlash(path[len(volume):]), "/")
	return volume + string(filepath.Separator), names
}
