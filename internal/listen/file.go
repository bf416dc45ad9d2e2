//go:build unix

package listen

// file.go makes the socket files that forwards listen on. Others may
// write to the directory of one: they can put any file in its place, at any
// moment. So nothing here changes a file that it only knows by that path.

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// FileListener listens on a socket that has a file.
type FileListener struct {
	*net.UnixListener
	path string
	// made is the file that the socket was bound to.
	made fs.FileInfo
}

// ListenFile listens on a socket whose file has a mode from the moment it is at
// path: it is bound and given the mode in a directory that only this user can
// enter, and moved to path then. It replaces no file.
func ListenFile(path string, mode fs.FileMode) (*FileListener, error) {
	inUse := os.NewSyscallError("bind", syscall.EADDRINUSE)
	if _, err := os.Lstat(path); err == nil {
		return nil, inUse
	}
	d, err := newPrivateDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer d.remove()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: d.socket()})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // it would remove whatever has the name
	l := &FileListener{UnixListener: ln, path: path}
	if l.made, err = d.setMode(mode); err == nil {
		err = os.Link(d.socket(), path)
	}
	if err == nil && !l.isInPlace() {
		err = errReplaced
	}
	if err != nil {
		_ = ln.Close()
		if errors.Is(err, fs.ErrExist) {
			err = inUse
		}
		return nil, err
	}
	return l, nil
}

// errReplaced is that the file of a socket is another one.
var errReplaced = errors.New("somebody has put another file in the place of the socket; only the user that Caddy runs as should be able to write to its directory")

// isInPlace reports whether the socket's file is still the one at its path.
func (l *FileListener) isInPlace() bool {
	info, err := os.Lstat(l.path)
	return err == nil && os.SameFile(info, l.made)
}

// setMode changes the mode of the socket's file. It changes no other file that
// is at its path meanwhile, nor one that a link there leads to.
func (l *FileListener) setMode(mode fs.FileMode) error {
	info, err := os.Lstat(l.path)
	if err != nil {
		return err
	}
	if !os.SameFile(info, l.made) {
		return errReplaced
	}
	if info.Mode().Perm() == mode {
		return nil
	}
	d, err := newPrivateDir(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	defer d.remove()
	if err := os.Link(l.path, d.socket()); err != nil {
		return err
	}
	linked, err := d.root.Lstat(socketName)
	if err != nil {
		return err
	}
	if !os.SameFile(linked, l.made) {
		return errReplaced
	}
	_, err = d.setMode(mode)
	return err
}

// Close implements net.Listener. It removes the socket's file.
func (l *FileListener) Close() error {
	if l.isInPlace() {
		_ = os.Remove(l.path) // what is left is removed by the next to listen there
	}
	return l.UnixListener.Close()
}

// Addr implements net.Listener.
func (l *FileListener) Addr() net.Addr { return &net.UnixAddr{Net: "unix", Name: l.path} }

// privateDir is a directory that only the user that Caddy runs as can enter. It
// may be in one that others can write to: they can rename it, and put another in
// its place, but not change what is in it.
type privateDir struct {
	path string
	root *os.Root
}

// socketName is what a socket is called in a privateDir.
const socketName = "s"

// maxSocketPath is how long a path may be that a socket is bound to: what fits
// into a sockaddr_un.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// newPrivateDir makes one in a directory, until remove.
func newPrivateDir(in string) (*privateDir, error) {
	for {
		// Short: a socket's path has room for little.
		d := &privateDir{path: filepath.Join(in, "."+strings.ToLower(rand.Text()[:6]))}
		if n := len(d.socket()); n > maxSocketPath {
			return nil, fmt.Errorf("the path of its directory is too long; shorten it by %d bytes", n-maxSocketPath)
		}
		err := os.Mkdir(d.path, 0o700)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if d.root, err = os.OpenRoot(d.path); err != nil {
			_ = os.Remove(d.path)
			return nil, err
		}
		if err := d.check(); err != nil {
			d.remove()
			return nil, err
		}
		return d, nil
	}
}

// check makes sure that what was opened is such a directory.
func (d *privateDir) check() error {
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return errReplaced
	}
	return nil
}

// socket is the path of the socket in the directory.
func (d *privateDir) socket() string { return filepath.Join(d.path, socketName) }

// setMode changes the mode of the socket in the directory, and returns the
// socket's file.
func (d *privateDir) setMode(mode fs.FileMode) (fs.FileInfo, error) {
	if err := d.root.Chmod(socketName, mode); err != nil {
		return nil, err
	}
	return d.root.Lstat(socketName)
}

// remove removes the directory, and the name that the socket has in it.
func (d *privateDir) remove() {
	_ = d.root.Remove(socketName) // there is none if binding has failed
	_ = d.root.Close()
	_ = os.Remove(d.path)
}
