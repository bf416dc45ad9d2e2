//go:build unix

package listen

// inherited.go listens on sockets that the process was started with, as by systemd's
// socket activation.

import (
	"errors"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// listenInherited listens on the socket of a file descriptor, as Caddy's own listeners
// do: by a copy, so that the socket stays open when the listener is closed, and a later
// configuration may listen on it. Meanwhile connections wait in its queue.
func listenInherited(number string) (net.Listener, error) {
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	if err := checkInherited(fd); err != nil {
		return nil, err
	}
	duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(duplicate), "fd/"+number)
	defer file.Close() //nolint:errcheck // the listener has a copy of its own
	return net.FileListener(file)
}

// checkInherited refuses a file descriptor that is not one of a listening stream socket
// which the process was started with.
func checkInherited(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	switch {
	case errors.Is(err, unix.EBADF), err == nil && flags&unix.FD_CLOEXEC != 0: // which all has that Go opens
		return errors.New("nobody passed this file descriptor to Caddy; start the socket's unit, which passes the socket to Caddy")
	case err != nil:
		return os.NewSyscallError("fcntl", err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	switch {
	case errors.Is(err, unix.ENOTSOCK):
		return errors.New("it is not a socket")
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case kind != unix.SOCK_STREAM:
		return errors.New("it is not a stream socket; write ListenStream= in the socket's unit")
	}
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case listening == 0:
		return errors.New("the socket does not listen; write Accept=no in its unit")
	}
	return nil
}
