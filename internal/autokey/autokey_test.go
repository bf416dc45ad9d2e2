package autokey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// storageOfChild names the storage for a process that only asks for a key.
const storageOfChild = "AUTOKEY_TEST_STORAGE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(storageOfChild); dir != "" {
		keys, err := Storage{&certmagic.FileStorage{Path: dir}}.LoadOrCreate(context.Background(), "prod")
		fmt.Print(keys.Current, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestOneKey: processes and goroutines that share a storage get one key of a tunnel, all
// at once.
func TestOneKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got := make([]string, 6)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			if i%2 == 0 {
				keys, err := Storage{&certmagic.FileStorage{Path: dir}}.LoadOrCreate(t.Context(), "prod")
				got[i] = fmt.Sprint(keys.Current, err)
				return
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), storageOfChild+"="+dir)
			out, err := cmd.CombinedOutput()
			got[i] = string(out)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := Storage{&certmagic.FileStorage{Path: dir}}
	keys, err := s.Load(t.Context(), "prod")
	if err != nil || keys.Next != nil {
		t.Fatalf("loading: %v, %v", keys, err)
	}
	for _, g := range got {
		if want := keys.Current.String() + " <nil>"; g != want {
			t.Errorf("got %q, want %q", g, want)
		}
	}
	if locks, err := os.ReadDir(filepath.Join(dir, "locks")); err != nil || len(locks) > 0 {
		t.Errorf("locks are left: %v, %v", locks, err)
	}
	info, err := os.Stat(filepath.Join(dir, storageKey("prod")))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	other, err := s.LoadOrCreate(t.Context(), "../prod")
	if err != nil || other.Current.String() == keys.Current.String() {
		t.Errorf("another tunnel has %v, %v", other, err)
	}
}

// TestRotate: the next key stays until there was a login with it.
func TestRotate(t *testing.T) {
	t.Parallel()
	s := Storage{&certmagic.FileStorage{Path: t.TempDir()}}
	for what, err := range map[string]error{
		"loading":  second(s.Load(t.Context(), "prod")),
		"rotating": second(s.Rotate(t.Context(), "prod")),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s what is not there: %v", what, err)
		}
	}
	first, err := s.LoadOrCreate(t.Context(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := s.Confirm(t.Context(), "prod", first.Current.PublicKey()); removed != nil || err != nil {
		t.Errorf("a login with the only key removes %v, %v", removed, err)
	}
	rotated, err := s.Rotate(t.Context(), "prod")
	if err != nil || rotated.Next == nil || rotated.Current.String() != first.Current.String() || rotated.Next.String() == rotated.Current.String() {
		t.Fatalf("rotating: %v, %v", rotated, err)
	}
	for what, get := range map[string]func(context.Context, string) (Keys, error){"rotating again": s.Rotate, "loading": s.Load, "creating": s.LoadOrCreate} {
		if again, err := get(t.Context(), "prod"); err != nil || fmt.Sprint(again) != fmt.Sprint(rotated) {
			t.Errorf("%s: %v, %v; want %v", what, again, err, rotated)
		}
	}
	for _, key := range []ssh.PublicKey{first.Current.PublicKey(), sshtest.NewKey().PublicKey()} {
		if removed, err := s.Confirm(t.Context(), "prod", key); removed != nil || err != nil {
			t.Errorf("a login with another key removes %v, %v", removed, err)
		}
	}
	removed, err := s.Confirm(t.Context(), "prod", rotated.Next.PublicKey())
	if err != nil || ssh.FingerprintSHA256(removed) != first.Current.String() {
		t.Errorf("confirming removes %v, %v", removed, err)
	}
	if removed, err := s.Confirm(t.Context(), "prod", rotated.Next.PublicKey()); removed != nil || err != nil {
		t.Errorf("confirming again removes %v, %v", removed, err)
	}
	after, err := s.Load(t.Context(), "prod")
	if err != nil || after.Next != nil || after.Current.String() != rotated.Next.String() {
		t.Errorf("afterwards: %v, %v", after, err)
	}
	if _, err := s.Confirm(t.Context(), "other", rotated.Next.PublicKey()); err != nil {
		t.Errorf("confirming without any key: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestNeverASecond: what cannot be locked, written, read or parsed is an error that names
// the place, has nothing of the key in it, and replaces nothing.
func TestNeverASecond(t *testing.T) {
	t.Parallel()
	name := storageKey("prod")
	file := sshtest.WriteFile(t, "file", nil)
	if _, err := (Storage{&certmagic.FileStorage{Path: file}}).LoadOrCreate(t.Context(), "prod"); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("a storage that is a file: %v", err)
	}
	good := Storage{&certmagic.FileStorage{Path: t.TempDir()}}
	if _, err := good.LoadOrCreate(t.Context(), "prod"); err != nil {
		t.Fatal(err)
	}
	value, err := good.Storage.Load(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	rsa, locked := sshtest.NewRSAKey(2048).PEM(""), sshtest.NewKey().PEM("horse")
	of := func(key []byte) string {
		return `{"tunnel": "prod", "current": {"private_key": "` + strings.ReplaceAll(string(key), "\n", `\n`) + `"}}`
	}
	for _, content := range []string{
		"", "{", "{}", "null", string(value[:len(value)/2]), string(value) + "x",
		`{"tunnel": "prod"}`, `{"tunnel": "prod", "current": {}}`,
		strings.Replace(string(value), `"prod"`, `"stage"`, 1),
		strings.Replace(string(value), "BEGIN", "BEGAN", 1),
		strings.Replace(string(value), `"current"`, `"next"`, 1),
		strings.Replace(string(value), `"created":"`, `"created":"HUNTER2`, 1),
		strings.TrimSuffix(string(value), "}") + `,"next":{"private_key":"x"}}`,
		of(rsa), of(locked),
	} {
		s := Storage{&certmagic.FileStorage{Path: t.TempDir()}}
		if err := s.Store(t.Context(), name, []byte(content)); err != nil {
			t.Fatal(err)
		}
		_, createErr := s.LoadOrCreate(t.Context(), "prod")
		_, rotateErr := s.Rotate(t.Context(), "prod")
		_, confirmErr := s.Confirm(t.Context(), "prod", sshtest.NewKey().PublicKey())
		for _, err := range []error{createErr, rotateErr, confirmErr} {
			if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), name+" in Caddy's storage: ") || !strings.HasSuffix(err.Error(), "to generate another key") || strings.Contains(err.Error(), "HUNTER2") {
				t.Errorf("%q: got %v", content, err)
			}
		}
		if after, err := s.Storage.Load(t.Context(), name); err != nil || string(after) != content {
			t.Errorf("%q: afterwards there is %q, %v", content, after, err)
		}
	}
	unreadable := Storage{unreadableStorage(good)}
	if _, err := unreadable.LoadOrCreate(t.Context(), "prod"); err == nil || err.Error() != name+" in Caddy's storage: permission denied" {
		t.Errorf("an unreadable storage: %v", err)
	}
	if _, err := unreadable.Rotate(t.Context(), "prod"); err == nil {
		t.Error("an unreadable storage: it rotates")
	}
	if after, err := good.Storage.Load(t.Context(), name); err != nil || string(after) != string(value) {
		t.Errorf("afterwards there is %q, %v", after, err)
	}
}

// unreadableStorage loads nothing, and would store.
type unreadableStorage struct{ certmagic.Storage }

func (unreadableStorage) Load(context.Context, string) ([]byte, error) { return nil, fs.ErrPermission }

// TestKey: a key prints as its fingerprint, and is a line of authorized_keys whatever its
// comment.
func TestKey(t *testing.T) {
	t.Parallel()
	key, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", key, key, key, key, key), fmt.Sprintf("%v %+v", Keys{Current: key}, Keys{Next: key})} {
		if strings.Contains(text, "PRIVATE") {
			t.Errorf("it prints as %s", text)
		}
	}
	for comment, want := range map[string]string{"": "", "caddy-ssh-tunnel prod": " caddy-ssh-tunnel prod", "a\nssh-rsa AAAA": " a ssh-rsa AAAA"} {
		line := key.AuthorizedKey(comment)
		public, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || len(rest) > 0 || strings.Contains(line, "\n") || !strings.HasSuffix(line, want) || ssh.FingerprintSHA256(public) != key.String() {
			t.Errorf("%q: %q, %v", comment, line, err)
		}
	}
	again := &Key{PrivateKey: key.PrivateKey}
	if err := again.parse(); err != nil || again.String() != key.String() || ssh.FingerprintSHA256(again.Signer().PublicKey()) != key.String() {
		t.Errorf("read again: %v, %v", again, err)
	}
}
