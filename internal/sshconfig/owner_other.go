//go:build !unix

package sshconfig

import "io/fs"

// othersMayWrite would have to look at access control lists.
func othersMayWrite(fs.FileInfo) bool { return false }
