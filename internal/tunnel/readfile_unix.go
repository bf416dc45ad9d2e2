//go:build unix

package tunnel

import "syscall"

// openNonblock has the opening of a named pipe not wait for its other end.
const openNonblock = syscall.O_NONBLOCK
