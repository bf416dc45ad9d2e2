//go:build !unix

package tunnel

// openNonblock is for systems that have no named pipes among the files.
const openNonblock = 0
