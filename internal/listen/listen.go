// Package listen listens on this machine for forwards. A socket belongs to all
// configurations that have its address, so that a reload closes none and no client meets
// a closed port. It does not forward: package forward does. The root and the commands
// import it.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
)

// errRefusedOnWindows is WSAECONNREFUSED, which Windows has for ECONNREFUSED.
const errRefusedOnWindows = syscall.Errno(10061)

// listenTimeout bounds the look-up of a name to listen on.
const listenTimeout = 10 * time.Second

// listenAt opens the socket of an address. A socket's file has its permissions from
// the beginning.
func listenAt(a hostport.ListenAddress) (net.Listener, error) {
	ln, err := openSocket(a)
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", a, withoutPath(err))
	}
	return ln, nil
}

func openSocket(a hostport.ListenAddress) (net.Listener, error) {
	if isFile(a) {
		if err := removeStale(a.Address); err != nil {
			return nil, err
		}
		ln, err := ListenFile(a.Address, a.Mode)
		if err != nil {
			return nil, err // and no nil *FileListener in the interface
		}
		return ln, nil
	}
	if a.Network == hostport.InheritedNetwork {
		return listenInherited(a.Address)
	}
	ctx, cancel := context.WithTimeout(context.Background(), listenTimeout)
	defer cancel()
	return new(net.ListenConfig).Listen(ctx, a.Network, a.Address)
}

// withoutPath returns what an error says beside the address, or a path that was
// made of it.
func withoutPath(err error) error {
	switch e := err.(type) { // what wraps one of these has more to say
	case *net.OpError:
		return e.Err
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	default:
		return err
	}
}

// isFile reports whether the address is a file: not of TCP, nor abstract.
func isFile(a hostport.ListenAddress) bool {
	return a.Network == "unix" && !strings.HasPrefix(a.Address, "@")
}

// removeStale removes a socket that nobody listens on any more, such as one
// that a killed process has left.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("there is a file, and it is no socket")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		_ = conn.Close()
		return errors.New("another process listens on it")
	case errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, errRefusedOnWindows):
		return os.Remove(path)
	default:
		// Somebody may listen who does not let us in, has no room just now, or
		// has another kind of socket.
		return fmt.Errorf("the socket exists, and it cannot be determined whether it is in use; remove it if it is not: %w", err)
	}
}
