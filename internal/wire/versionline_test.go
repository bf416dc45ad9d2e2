package wire

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestVersionReader skips the lines that OpenSSH skips, and stops where it does.
func TestVersionReader(t *testing.T) {
	t.Parallel()
	const rest = "\x00\x01packets\n\x02"
	for name, c := range map[string]struct {
		sent, version, err string
	}{
		"plain":               {"SSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
		"no CR":               {"SSH-2.0-x\n", "SSH-2.0-x\n", ""},
		"two CR":              {"SSH-2.0-x\r\r\n", "SSH-2.0-x\n", ""},
		"lines":               {"hello\r\n\r\nworld\nSSH-2.0-x y\r\n", "SSH-2.0-x y\n", ""},
		"a line of 300":       {strings.Repeat("x", 300) + "\r\nSSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
		"a line of 8200":      {strings.Repeat("x", 8200) + "\r\nSSH-2.0-x\r\n", "", "a line of more than 8192 bytes"},
		"a line of 8192":      {strings.Repeat("x", 8192) + "\r\nSSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
		"1023 lines":          {strings.Repeat("x\n", 1023) + "SSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
		"1024 lines":          {strings.Repeat("x\n", 1024) + "SSH-2.0-x\r\n", "", "1024 lines without an SSH version"},
		"no version in SSH-":  {"SSH-\r\nSSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
		"SSH within a line":   {"no SSH-2.0-y\r\nSSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
		"the longest version": {"SSH-2.0-" + strings.Repeat("v", 246) + "\r\n", "SSH-2.0-" + strings.Repeat("v", 246) + "\n", ""},
		"too long a version":  {"SSH-2.0-" + strings.Repeat("v", 247) + "\r\n", "", "its version line has 255 bytes"},
		"SSH 1 alone":         {"SSH-1.5-OldCisco\n", "", `no SSH protocol but version 1, which is insecure and not supported: "SSH-1.5-OldCisco"`},
		"SSH 1 as well":       {"SSH-1.99-x\n", "SSH-1.99-x\n", ""},
		"UTF-8 and colors":    {"\x1b[31mbienvenüe\x1b[0m\r\nSSH-2.0-x\r\n", "SSH-2.0-x\n", ""},
	} {
		for how, wrap := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytewise": iotest.OneByteReader} {
			var record preamble
			in := bufio.NewReader(recording{wrap(strings.NewReader(c.sent + rest)), &record})
			got, err := io.ReadAll(&versionReader{in: in, preamble: &record})
			if c.err != "" {
				if _, ok := errors.AsType[VersionError](err); !ok || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s, %s: got %q, %v, want %q", name, how, got, err, c.err)
				}
				continue
			}
			if want := c.version + rest; err != nil || string(got) != want {
				t.Errorf("%s, %s: got %q, %v, want %q", name, how, got, err, want)
			}
			if kept := record.end(); string(kept) != string(got) {
				t.Errorf("%s, %s: recorded %q of %q", name, how, kept, got)
			}
		}
	}
}

// recording adds what is read to a preamble.
type recording struct {
	io.Reader
	to *preamble
}

func (r recording) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.to.add(p[:n])
	return n, err
}
