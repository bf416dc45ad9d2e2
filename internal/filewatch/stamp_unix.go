//go:build unix

package filewatch

import (
	"fmt"
	"io/fs"
	"syscall"
)

// identify returns which file it is, and whose: one that replaces another may
// have its size and time.
func identify(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprint(stat.Dev, stat.Ino, stat.Uid, stat.Gid)
}
