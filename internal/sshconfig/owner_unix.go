//go:build unix

package sshconfig

import (
	"io/fs"
	"os"
	"syscall"
)

// openNonblock keeps the opening of a named pipe from waiting for its other end.
const openNonblock = syscall.O_NONBLOCK

// othersMayWrite reports whether others than root and the user that this process
// runs as own a file or may write to it.
func othersMayWrite(info fs.FileInfo) bool {
	if info.Mode().Perm()&0o022 != 0 {
		return true
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && stat.Uid != 0 && int(stat.Uid) != os.Getuid()
}
