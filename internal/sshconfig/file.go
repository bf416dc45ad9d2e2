package sshconfig

// file.go reads a file into lines.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

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
	if isUTF16(content) {
		return nil, fmt.Errorf("%s:1: the file is in UTF-16, which ssh does not read; run iconv -f UTF-16LE -t UTF-8", path)
	}
	if bytes.HasPrefix(content, []byte("\xff\xfe")) || bytes.HasPrefix(content, []byte("\xfe\xff")) {
		return nil, fmt.Errorf("%s:1: the file is in UTF-16, which ssh does not read; run iconv -f UTF-16 -t UTF-8", path)
	}
	for text := range bytes.Lines(content) {
		number++
		if bytes.HasPrefix(text, []byte(byteOrderMark)) {
			return nil, fmt.Errorf("%s:%d: a byte order mark (U+FEFF) stands before the first word, which ssh refuses; save the file as UTF-8 without one, or run sed -i 's/^\\xEF\\xBB\\xBF//' on it", path, number)
		}
		pos := fmt.Sprintf("%s:%d", path, number)
		text, _, _ = bytes.Cut(text, []byte{0}) // ssh ignores what follows
		d, err := parseLine(string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", pos, err)
		}
		if d != nil {
			_, known := canonicalName(d.keyword)
			ours = ours || known
			lines = append(lines, line{directive: d, pos: pos})
		}
	}
	for i := range lines {
		lines[i].ours = ours
	}
	return lines, nil
}

// isUTF16 reports whether a text is in UTF-16 without a byte order mark: every other
// byte of its first letters is zero.
func isUTF16(content []byte) bool {
	if len(content) < 4 {
		return false
	}
	first, second := content[0] == 0, content[1] == 0
	return first != second && (content[2] == 0) == first && (content[3] == 0) == second
}

// byteOrderMark is what some editors put before UTF-8.
const byteOrderMark = "\xef\xbb\xbf"

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
	f, err := os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return file{}, fileError(path, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return file{}, fileError(path, err)
	case info.IsDir():
		return file{}, fmt.Errorf("reading %q: %w", path, errDirectory)
	case !info.Mode().IsRegular():
		return file{}, fmt.Errorf("reading %q: not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	switch {
	case err != nil:
		return file{}, fileError(path, err)
	case len(content) > maxFileSize:
		return file{}, fmt.Errorf("reading %q: larger than %d bytes", path, maxFileSize)
	}
	read := file{exposed: othersMayWrite(info)}
	read.lines, read.err = parseLines(path, content)
	return read, nil
}

// fileError says what was wrong with which file, and not which call found out.
func fileError(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("reading %q: %w", path, err)
}
