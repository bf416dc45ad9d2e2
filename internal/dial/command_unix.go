//go:build unix

package dial

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// commandSockets returns the ends of a connection, ours and the command's.
func commandSockets() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no other command may inherit them
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "proxy_command")
	file := os.NewFile(uintptr(fds[0]), "proxy_command")
	defer func() { _ = file.Close() }() // FileConn takes a copy
	if ours, err = net.FileConn(file); err != nil {
		_ = theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// receiveSocket returns the connected socket that a command passes over its standard
// output.
func receiveSocket(over net.Conn) (net.Conn, error) {
	conn, ok := over.(*net.UnixConn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	data, control := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, control)
	if err != nil {
		return nil, err
	}
	messages, err := syscall.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		return nil, errors.New("it sent data, and no file descriptor")
	}
	var files []*os.File
	for _, m := range messages {
		fds, _ := syscall.ParseUnixRights(&m) // none of another message
		for _, fd := range fds {
			file := os.NewFile(uintptr(fd), "proxy_command")
			defer func() { _ = file.Close() }() // FileConn takes a copy
			files = append(files, file)
		}
	}
	if len(files) != 1 {
		return nil, fmt.Errorf("it sent %d file descriptors, and not one", len(files))
	}
	passed, err := net.FileConn(files[0])
	if err != nil {
		return nil, fmt.Errorf("its file descriptor is no connection: %w", err)
	}
	return passed, nil
}
