package readfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"sync"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Error returns an error that says why the file that an option names cannot be used. Its
// text names the option, the path and, if permissions are the cause, the user. It does
// not show a path that may be a secret. It wraps err.
func Error(option, path string, err error) error { return &fileError{option, path, err} }

type fileError struct {
	option, path string
	err          error
}

func (e *fileError) Error() string {
	switch {
	case errors.Is(e.err, fs.ErrNotExist):
		return fmt.Sprintf("%s %s does not exist", e.option, redact.Quote(e.path))
	case errors.As(e.err, new(*directoryError)):
		return fmt.Sprintf("%s %s %v", e.option, redact.Quote(e.path), e.err)
	case errors.Is(e.err, fs.ErrPermission):
		return fmt.Sprintf("%s %s cannot be read by user %q; change its owner or mode", e.option, redact.Quote(e.path), User())
	default:
		return fmt.Sprintf("%s %s %v", e.option, redact.Quote(e.path), e.err)
	}
}

func (e *fileError) Unwrap() error { return e.err }

// User returns the name of the user that this process runs as.
var User = sync.OnceValue(func() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return strconv.Itoa(os.Getuid())
})

// RootCause returns the innermost error: "connection refused" instead of
// "dial unix /run/agent: connect: connection refused".
func RootCause(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
