package sshconfig

// file.go reads a file into lines.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxFileSize is more than any file that a person writes or a program
// generates for ssh, and keeps a wrong path from filling the memory.
const maxFileSize = 4 << 20

// line is a directive and where it stands.
type line struct {
	*directive
	pos string // <file>:<line>
}

// lines returns a file's lines, which it reads but once. A file that others
// than its owner and root could have written is refused if strict is set, as
// ssh does with those that it finds by itself.
func (r *Reader) lines(path string, strict bool) ([]line, error) {
	if lines, ok := r.files[path]; ok {
		return lines, nil
	}
	content, err := readFile(path, strict)
	if err != nil {
		return nil, err
	}
	var lines []line
	number := 0
	for text := range bytes.Lines(content) {
		number++
		pos := fmt.Sprintf("%s:%d", path, number)
		if bytes.IndexByte(text, 0) >= 0 {
			return nil, fmt.Errorf("%s: not a text file", pos)
		}
		d, err := parseLine(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pos, err)
		}
		if d != nil {
			lines = append(lines, line{d, pos})
		}
	}
	if r.files == nil {
		r.files = make(map[string][]line)
	}
	r.files[path] = lines
	return lines, nil
}

// errDirectory is returned for what is no file.
var errDirectory = errors.New("a directory")

func readFile(path string, strict bool) ([]byte, error) {
	if path == os.DevNull {
		return nil, nil
	}
	// Looked at before it is opened: opening a pipe would wait.
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	switch {
	case info.IsDir():
		return nil, fmt.Errorf("reading %q: %w", path, errDirectory)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("reading %q: not a regular file", path)
	case info.Size() > maxFileSize:
		return nil, fmt.Errorf("reading %q: larger than %d bytes", path, maxFileSize)
	case strict && othersMayWrite(info):
		return nil, fmt.Errorf("reading %q: others than root and this user could have written it; run chown and chmod go-w", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize))
	if err != nil {
		return nil, fileError(path, err)
	}
	return content, nil
}

// fileError says what was wrong with which file, and not which call found out.
func fileError(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("reading %q: %w", path, err)
}
