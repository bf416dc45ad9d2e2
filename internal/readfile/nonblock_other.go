//go:build !unix

package readfile

// openNonblock is for systems that have no named pipes among the files.
const openNonblock = 0
