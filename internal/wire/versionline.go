// versionline.go skips what a server sends before its version line (RFC 4253
// section 4.2), as OpenSSH does. x/crypto/ssh refuses such a line of 255 bytes.

package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// The limits of OpenSSH: SSH_MAX_BANNER_LEN and SSH_MAX_PRE_BANNER_LINES.
const (
	maxEarlyLine  = 8192
	maxEarlyLines = 1024
)

// maxVersion is how long a version can be for x/crypto/ssh. RFC 4253 permits 253
// bytes. It is part of what the key exchange signs, so it cannot be cut short.
const maxVersion = 254

// VersionError says why no version line can follow what a server has sent.
type VersionError string

func (e VersionError) Error() string { return string(e) }

// versionReader reads what a server sends, from its version line on.
type versionReader struct {
	in *bufio.Reader
	// preamble records what arrives. It starts again with the version line.
	preamble *preamble
	// line is what has arrived of a line, and once found is true, what is left to
	// read of the version line. lines counts those before it.
	line  []byte
	lines int
	found bool
}

// Read implements io.Reader.
func (r *versionReader) Read(p []byte) (int, error) {
	if !r.found {
		if err := r.find(); err != nil {
			return 0, err
		}
	}
	if len(r.line) > 0 {
		n := copy(p, r.line)
		r.line = r.line[n:]
		return n, nil
	}
	return r.in.Read(p)
}

// find reads up to the end of the version line.
func (r *versionReader) find() error {
	for r.lines < maxEarlyLines {
		if err := r.readLine(); err != nil {
			return err
		}
		if version := bytes.TrimRight(r.line, "\r\n"); len(version) > len("SSH-") && bytes.HasPrefix(version, []byte("SSH-")) {
			if bytes.HasPrefix(version, []byte("SSH-1.")) && !bytes.HasPrefix(version, []byte("SSH-1.99-")) {
				return VersionError(fmt.Sprintf("it speaks no SSH protocol but version 1, which is insecure and not supported: %q", printable.Text(string(version))))
			}
			if len(version) > maxVersion {
				return VersionError(fmt.Sprintf("its version line has %d bytes, and RFC 4253 permits 255", len(version)))
			}
			r.found, r.line = true, append(version, '\n')
			next, _ := r.in.Peek(r.in.Buffered())
			r.preamble.restart(r.line, next)
			return nil
		}
		r.line = r.line[:0]
		r.lines++
	}
	return VersionError(fmt.Sprintf("it sent %d lines without an SSH version", maxEarlyLines))
}

// readLine reads a line to its end.
func (r *versionReader) readLine() error {
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			return err
		}
		if r.line = append(r.line, b); b == '\n' {
			return nil
		}
		if len(r.line) > maxEarlyLine+len("\r") {
			return VersionError(fmt.Sprintf("it sent a line of more than %d bytes before its SSH version", maxEarlyLine))
		}
	}
}

var _ io.Reader = (*versionReader)(nil)
