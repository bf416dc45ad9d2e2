//go:build !unix

package sshconfig

import "io/fs"

// openNonblock is for systems that have no named pipes among the files.
const openNonblock = 0

// othersMayWrite would have to look at access control lists.
func othersMayWrite(fs.FileInfo) bool { return false }
