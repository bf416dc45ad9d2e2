package tunnel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnsearchable(t *testing.T) {
	t.Parallel()
	links := map[string]string{"/etc/caddy/link": "../../root/.ssh/id", "/etc/caddy/loop": "loop", "/etc/caddy/open": "/etc/caddy/id"}
	lstat := func(path string) (fs.FileInfo, error) {
		if strings.HasPrefix(path, "/root/") {
			return nil, &fs.PathError{Op: "lstat", Path: path, Err: fs.ErrPermission}
		}
		return nil, nil //nolint:nilnil // nobody looks at it
	}
	readlink := func(path string) (string, error) {
		if to, ok := links[path]; ok {
			return to, nil
		}
		return "", errors.New("no link")
	}
	for path, want := range map[string]string{
		"/root/.ssh/id": "/root", "/root/id": "/root", "/etc/caddy/link": "/root", "/etc/caddy/loop": "", "/etc/caddy/open": "", "/id": "", "id": "",
	} {
		if got := unsearchable(path, lstat, readlink); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// TestFileInClosedDirectory: the error names the directory and not the file's mode.
func TestFileInClosedDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() == 0 {
		t.Skip("root may search every directory")
	}
	dir := filepath.Join(t.TempDir(), "closed")
	writeKey(t, dir+"/keys/id", edKey(1), "")
	if err := os.Chmod(dir, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	_, err := new(Config).loadIdentity(IdentityFile{Path: dir + "/keys/id"})
	wantError(t, err, `identity_file "`+dir+`/keys/id" cannot be read by user "`+processUser()+`", who may not search the directory "`+dir+`"; run chmod o+x on it, or move the file`)
}
