// Package readfile reads the files and the secrets that an option names. Its errors name
// the option, say what is wrong and how to fix it, and show no secret. It does not know
// what is in the files. Packages connect, hostkey and sshauth import it.
package readfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

const (
	// MaxSize is the largest size of a file that is read: a path may name a device
	// that has no end. The largest files are those of known hosts.
	MaxSize = 64 << 20
	// fileTimeout bounds the reading of a named pipe: keys can come through one.
	// Nothing bounds the reading of other files.
	fileTimeout = 5 * time.Second
)

// Open opens a file for reading. It does not wait for the other end of a named pipe.
func Open(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|openNonblock, 0) }

// Read reads a file that an option names. See All for its bounds.
func Read(option, path string) ([]byte, error) {
	data, err := All(path)
	if err == nil {
		return data, nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, fs.ErrPermission):
		err = PermissionError(path, err)
	default:
		err = fmt.Errorf("cannot be read: %w", RootCause(err))
	}
	return nil, Error(option, path, err)
}

// All is os.ReadFile for files of at most MaxSize bytes. A named pipe that nothing
// comes through is an error after five seconds.
func All(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()                                    //nolint:errcheck // it was only read
	_ = f.SetReadDeadline(time.Now().Add(fileTimeout)) // which only a pipe has
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	switch {
	case err == nil && len(data) > MaxSize:
		err = fmt.Errorf("it is longer than %d MiB; write the path of a file of keys", MaxSize>>20)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("nothing came through the named pipe for %s; write the path of a file", fileTimeout)
	}
	return data, err
}
