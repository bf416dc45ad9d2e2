package failure

import (
	"errors"
	"syscall"
)

// Scarce reports whether an error is the want of something that this machine may
// have again any moment: files (RLIMIT_NOFILE) or memory. No file need change
// for the next attempt to go better.
func Scarce(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOMEM) || errors.Is(err, syscall.ENOBUFS)
}
