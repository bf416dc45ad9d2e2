//go:build !unix

package listen

import (
	"errors"
	"io/fs"
	"net"
	"os"
)

// FileListener listens on a socket that has a file. Access control lists say
// who may connect: those of its directory.
type FileListener struct {
	*net.UnixListener
	path string
}

// ListenFile listens on a socket. Windows has no modes.
func ListenFile(path string, _ fs.FileMode) (*FileListener, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // Close does so if it is still there
	return &FileListener{ln, path}, nil
}

// isInPlace reports whether the socket's file is still there.
func (l *FileListener) isInPlace() bool {
	_, err := os.Lstat(l.path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (l *FileListener) setMode(fs.FileMode) error { return nil }

// Close implements net.Listener. It removes the socket's file.
func (l *FileListener) Close() error {
	if l.isInPlace() {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
