package sshconfig

// file.go reads a file into lines.

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// maxFileSize is more than any file that a person writes or a program
// generates for ssh, and keeps a wrong path from filling the memory.
const maxFileSize = 4 << 20

// line is a directive and where it stands.
type line struct {
	*directive
	pos string // <file>:<line>
	// ours says that the file has a keyword of ssh_config(5): it is none of
	// secrets.
	ours bool
}

// file is a file as it was read.
type file struct {
	lines []line
	err   error // of a line that cannot be read
	// exposed says that others than root and this user could have written it.
	exposed bool
}

// lines returns a file's lines, which it reads but once. A file that others
// than its owner and root could have written is refused if strict is set, as
// ssh does with those that it finds by itself: whoever else names the same file.
func (r *Reader) lines(path string, strict bool) ([]line, error) {
	f, ok := r.files[path]
	if !ok {
		var err error
		if f, err = readFile(path); err != nil {
			return nil, err
		}
		if r.files == nil {
			r.files = make(map[string]file)
		}
		r.files[path] = f
	}
	if strict && f.exposed {
		return nil, fmt.Errorf("reading %q: others than root and this user could have written it; run chmod go-w %s, and chown if it is somebody else's", path, path)
	}
	return f.lines, f.err
}

// parseLines takes a file's content apart.
func parseLines(path string, content []byte) (lines []line, err error) {
	number, ours := 0, false
	if err := cmp.Or(readfile.UTF16Error(path, content), readfile.ByteOrderMarkError(path, content)); err != nil {
		return nil, fmt.Errorf("%s:1: %w", path, err)
	}
	for text := range bytes.Lines(content) {
		number++
		pos := fmt.Sprintf("%s:%d", path, number)
		text, _, _ = bytes.Cut(text, []byte{0}) // ssh ignores what follows
		d, err := parseLine(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pos, err)
		}
		if d != nil {
			ours = ours || isKnown(d.keyword)
			lines = append(lines, line{directive: d, pos: pos})
		}
	}
	for i := range lines {
		lines[i].ours = ours
	}
	return lines, nil
}

// check refuses arguments that have a key in them, which errors and warnings
// would show.
func (l line) check() error {
	for _, arg := range l.args {
		if err := redact.CheckContent(arg); err != nil {
			return fmt.Errorf("%s: %s: %w", l.pos, l.written, err)
		}
	}
	return nil
}

// errDirectory is returned for what is no file.
var errDirectory = errors.New("a directory")

// readFile reads a file. What it says about the file is about the one that it has
// opened: another may have the name a moment later.
func readFile(path string) (file, error) {
	if path == os.DevNull {
		return file{}, nil
	}
	fail := func(err error) (file, error) { return file{}, fmt.Errorf("reading %q: %w", path, err) }
	f, err := readfile.Open(path)
	if err != nil {
		return fail(readfile.RootCause(err))
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return fail(readfile.RootCause(err))
	case info.IsDir():
		return fail(errDirectory)
	case !info.Mode().IsRegular():
		return fail(errors.New("not a regular file"))
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	switch {
	case err != nil:
		return fail(readfile.RootCause(err))
	case len(content) > maxFileSize:
		return fail(fmt.Errorf("larger than %d bytes", maxFileSize))
	}
	read := file{exposed: othersMayWrite(info)}
	read.lines, read.err = parseLines(path, content)
	return read, nil
}
