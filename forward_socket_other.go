//go:build !unix

package sshtunnel

import (
	"errors"
	"io/fs"
	"net"
	"os"
)

// socketListener listens on a socket that has a file. Access control lists say
// who may connect: those of its directory.
type socketListener struct {
	*net.UnixListener
	path string
}

// listenSocket listens on a socket. Windows has no modes.
func listenSocket(path string, _ fs.FileMode) (*socketListener, error) {
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // Close does so if it is still there
	return &socketListener{ln, path}, nil
}

// isInPlace tells whether the socket's file is still there.
func (l *socketListener) isInPlace() bool {
	_, err := os.Lstat(l.path)
	return !errors.Is(err, fs.ErrNotExist)
}

func (l *socketListener) setMode(fs.FileMode) error { return nil }

// Close implements net.Listener. It removes the socket's file.
func (l *socketListener) Close() error {
	if l.isInPlace() {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
