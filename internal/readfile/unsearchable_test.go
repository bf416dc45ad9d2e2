package readfile

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
	path := filepath.Join(dir, "keys", "id")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600), os.Chmod(dir, 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	_, err := Read("identity_file", path)
	want := `identity_file "` + path + `" cannot be read by user "` + User() + `", who may not search the directory "` + dir + `"; run chmod o+x on it, or move the file`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPermissionDenied(t *testing.T) {
	t.Parallel()
	want := `identity_file "/k" cannot be read by user "` + User() + `"; change its owner or mode`
	if err := Error("identity_file", "/k", fs.ErrPermission); err.Error() != want || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want %s", err, want)
	}
}
