package filewatch

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails the package if a goroutine outlives the watches.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must fails the test for an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o600))
}

// root returns a directory with no symbolic link on the way to it.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	return dir
}

// wantChange waits until the files have another stamp, of which w must tell.
func wantChange(t *testing.T, w *Watch, before string, paths ...string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for Stamp(paths) == before {
		select {
		case <-w.C:
			w.Set(paths)
		case <-timeout:
			t.Fatal("there is no report")
		}
	}
}

// TestWatch changes a file in each way that programs do.
func TestWatch(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(dir string) (path string)
		change  func(dir string)
	}{
		{
			"written", func(dir string) string { write(t, dir+"/f", "1"); return dir + "/f" },
			func(dir string) { write(t, dir+"/f", "22") },
		},
		{
			"appears", func(dir string) string { return dir + "/f" },
			func(dir string) { write(t, dir+"/f", "1") },
		},
		{
			"removed", func(dir string) string { write(t, dir+"/f", "1"); return dir + "/f" },
			func(dir string) { must(t, os.Remove(dir+"/f")) },
		},
		{
			"replaced by rename, with its size and time", func(dir string) string { write(t, dir+"/f", "1"); return dir + "/f" },
			func(dir string) {
				info, err := os.Stat(dir + "/f")
				must(t, err)
				write(t, dir+"/new", "2")
				must(t, os.Chtimes(dir+"/new", info.ModTime(), info.ModTime()))
				must(t, os.Rename(dir+"/new", dir+"/f"))
			},
		},
		{
			"mode", func(dir string) string { write(t, dir+"/f", "1"); return dir + "/f" },
			func(dir string) { must(t, os.Chmod(dir+"/f", 0o640)) },
		},
		{
			"as Kubernetes does", func(dir string) string {
				must(t, os.Mkdir(dir+"/..1", 0o700))
				write(t, dir+"/..1/f", "1")
				must(t, os.Symlink("..1", dir+"/..data"))
				must(t, os.Symlink("..data/f", dir+"/f"))
				return dir + "/f"
			},
			func(dir string) {
				must(t, os.Mkdir(dir+"/..2", 0o700))
				write(t, dir+"/..2/f", "2")
				must(t, os.Symlink("..2", dir+"/..tmp"))
				must(t, os.Rename(dir+"/..tmp", dir+"/..data"))
				must(t, os.RemoveAll(dir+"/..1"))
			},
		},
		{
			"behind a link into another directory", func(dir string) string {
				must(t, os.MkdirAll(dir+"/etc", 0o700))
				must(t, os.MkdirAll(dir+"/var/lib", 0o700))
				must(t, os.Symlink(dir+"/var/lib/f", dir+"/etc/f"))
				return dir + "/etc/f"
			},
			func(dir string) { write(t, dir+"/var/lib/f", "1") },
		},
		{
			"a directory that is a link", func(dir string) string {
				must(t, os.MkdirAll(dir+"/v1", 0o700))
				must(t, os.MkdirAll(dir+"/v2/sub", 0o700))
				must(t, os.Symlink("v1", dir+"/current"))
				return dir + "/current/sub/../f"
			},
			func(dir string) {
				write(t, dir+"/v2/f", "2")
				must(t, os.Symlink("v2", dir+"/next"))
				must(t, os.Rename(dir+"/next", dir+"/current"))
			},
		},
		{
			"a directory that is made anew", func(dir string) string {
				must(t, os.Mkdir(dir+"/d", 0o700))
				write(t, dir+"/d/f", "1")
				return dir + "/d/f"
			},
			func(dir string) {
				must(t, os.RemoveAll(dir+"/d"))
				must(t, os.Mkdir(dir+"/d", 0o700))
				time.Sleep(300 * time.Millisecond) // longer than whoever watches takes
				write(t, dir+"/d/f", "22")
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := root(t)
			path := test.prepare(dir)
			w := New()
			defer w.Close()
			w.Set([]string{path})
			before := Stamp([]string{path})
			done := make(chan struct{})
			go func() { // returns when the change is made
				defer close(done)
				test.change(dir)
			}()
			wantChange(t, w, before, path)
			<-done
		})
	}
}

// TestShared: a watch hears of its own directories only, and of none once it is
// closed, while others go on.
func TestShared(t *testing.T) {
	a, b := root(t), root(t)
	one, two := New(), New()
	one.Set([]string{a + "/f", b + "/f"})
	two.Set([]string{a + "/f"})
	one.Set([]string{b + "/f"})
	before := Stamp([]string{a + "/f"})
	write(t, a+"/f", "1")
	wantChange(t, two, before, a+"/f")
	select {
	case <-one.C:
		t.Error("a watch reports another's directory")
	default:
	}
	two.Close()
	before = Stamp([]string{b + "/f"})
	write(t, b+"/f", "1")
	wantChange(t, one, before, b+"/f")
	one.Close()
	one.Close()
	if watchers.fs != nil || len(watchers.dirs) > 0 {
		t.Errorf("%v is left", watchers.dirs)
	}
}

func TestDirectories(t *testing.T) {
	dir := root(t)
	must(t, os.MkdirAll(dir+"/a/b", 0o700))
	must(t, os.Symlink("loop", dir+"/loop"))
	must(t, os.Symlink("../f", dir+"/a/b/up"))
	must(t, os.Symlink(dir+"/a", dir+"/abs"))
	must(t, os.Symlink("a/b", dir+"/deep"))
	write(t, dir+"/a/f", "")
	for _, test := range []struct {
		path     string
		want     []string
		complete bool
	}{
		{"/a/f", []string{"/a"}, true},
		{"/a/none", []string{"/a"}, true},
		{"/a/none/f", []string{"/a"}, false},
		{"/a/b/up", []string{"/a/b", "/a"}, true},
		{"/abs/f", []string{"", "/a"}, true},
		{"/deep/../f", []string{"", "/a"}, true}, // of a/b, not of the link
	} {
		got, complete := directories(dir + test.path)
		for i := range test.want {
			test.want[i] = dir + test.want[i]
		}
		if !slices.Equal(got, test.want) || complete != test.complete {
			t.Errorf("%s: %q, %v", test.path, got, complete)
		}
	}
	if _, complete := directories(dir + "/loop"); complete {
		t.Error("a loop is complete")
	}
}
