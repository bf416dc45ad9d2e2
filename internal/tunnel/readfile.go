package tunnel

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// maxKeyFile is how much is read of a file of keys, a known_hosts file being
	// the largest: a name may lead to a device that has no end.
	maxKeyFile = 64 << 20
	// fileTimeout is how long a named pipe may take, which keys can come through
	// and whose other end can be anybody. Nothing bounds the reading of others.
	fileTimeout = 5 * time.Second
)

// readAll is os.ReadFile within these bounds.
func readAll(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()                                    //nolint:errcheck // it was only read
	_ = f.SetReadDeadline(time.Now().Add(fileTimeout)) // which only a pipe has
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	switch {
	case err == nil && len(data) > maxKeyFile:
		err = fmt.Errorf("it is longer than %d MiB; write the path of a file of keys", maxKeyFile>>20)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("nothing came through the named pipe for %s; write the path of a file", fileTimeout)
	}
	return data, err
}
