package readfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// unsearchable.go finds the directory that keeps a file from being read, whatever the
// mode of the file is.

// directoryError is a file that a directory above it keeps from being read.
type directoryError struct {
	directory string
	err       error
}

func (e *directoryError) Error() string {
	return fmt.Sprintf("cannot be read by user %q, who may not search the directory %q; run chmod o+x on it, or move the file", User(), e.directory)
}

func (e *directoryError) Unwrap() error { return e.err }

// PermissionError returns err, wrapped in one that names the directory if a directory
// above the file is the cause.
func PermissionError(path string, err error) error {
	if directory := unsearchable(path, os.Lstat, os.Readlink); directory != "" {
		return &directoryError{directory, err}
	}
	return err
}

// maxLinks is how many symbolic links to a file are followed.
const maxLinks = 8

// unsearchable returns the directory on the way to a file that may not be searched,
// or "".
func unsearchable(path string, lstat func(string) (fs.FileInfo, error), readlink func(string) (string, error)) string {
	for range maxLinks {
		var above []string
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			above = append(above, dir)
			if dir == filepath.Dir(dir) {
				break
			}
		}
		for i, dir := range slices.Backward(above) {
			within := path
			if i > 0 {
				within = above[i-1]
			}
			if _, err := lstat(within); errors.Is(err, fs.ErrPermission) {
				return dir
			}
		}
		target, err := readlink(path)
		if err != nil {
			return ""
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return ""
}
