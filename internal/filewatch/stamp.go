package filewatch

import (
	"fmt"
	"os"
	"strings"
)

// Stamp returns a text that changes when one of the files does, or its owner or
// mode, or when it comes or goes.
func Stamp(paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			fmt.Fprintf(&b, "%s %d %d %v %s\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode(), identify(info))
		} else {
			fmt.Fprintf(&b, "%s absent\n", path)
		}
	}
	return b.String()
}
