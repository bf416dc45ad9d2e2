package readfile

import (
	"bytes"
	"fmt"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
)

// encoding.go finds texts that editors of Windows have written, and that ssh does not read.

// UTF16Error says that the content of the file at path is UTF-16, and which command makes
// it one that ssh reads. It returns nil for any other.
func UTF16Error(path string, data []byte) error {
	encoding := ""
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		encoding = "UTF-16"
	case len(data) < 4:
	case data[0] == 0 && data[1] != 0 && data[2] == 0 && data[3] != 0: // of ASCII, every other byte is zero
		encoding = "UTF-16BE"
	case data[0] != 0 && data[1] == 0 && data[2] != 0 && data[3] == 0:
		encoding = "UTF-16LE"
	}
	if encoding == "" {
		return nil
	}
	return fmt.Errorf(`it is UTF-16, which ssh does not read; run t=$(iconv -f %s -t UTF-8 %[2]s) && printf '%%s\n' "$t" > %[2]s`, encoding, keyfile.Shell(path))
}

// ByteOrderMarkError says that the content of the file at path begins with a byte order
// mark, which ssh takes for part of the first word. It returns nil for any other.
func ByteOrderMarkError(path string, data []byte) error {
	if !bytes.HasPrefix(data, []byte("\ufeff")) {
		return nil
	}
	return fmt.Errorf(`it begins with a byte order mark; run sed -i '1s/^\xEF\xBB\xBF//' %s`, keyfile.Shell(path))
}
