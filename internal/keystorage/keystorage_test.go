package keystorage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestKeyStorage has instances that share a storage see different keys of the
// same bastion first, all at once: they agree on one.
func TestKeyStorage(t *testing.T) {
	dir := t.TempDir()
	route := hostkey.Route{Name: "[b.example]:2222", Via: []string{"a.example", "::1"}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	if learned, err := (Storage{&certmagic.FileStorage{Path: dir}}).Recall(ctx, route); learned != nil || err != nil {
		t.Fatalf("recalled %v, %v from nothing", learned, err)
	}
	got := make([]*hostkey.LearnedKeys, 3)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = (Storage{&certmagic.FileStorage{Path: dir}}).Learn(ctx, route, sshtest.NewKey().PublicKey()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	recalled, err := (Storage{&certmagic.FileStorage{Path: dir}}).Recall(ctx, route)
	if err != nil {
		t.Fatal(err)
	}
	for _, learned := range append(got, recalled) {
		key, first := learned.Keys[0], got[0].Keys[0]
		if a, b := ssh.FingerprintSHA256(key.Key), ssh.FingerprintSHA256(first.Key); len(learned.Keys) != 1 || a != b {
			t.Errorf("learned %s and %s", a, b)
		}
		if !key.Learned.Equal(first.Learned) || time.Since(key.Learned) > time.Minute {
			t.Errorf("learned at %s", key.Learned)
		}
		if want := "caddy ssh-tunnel known-hosts forget '[b.example]:2222' --via a.example,::1"; learned.Forget != want {
			t.Errorf("the command is %s\nwant           %s", learned.Forget, want)
		}
	}
	if locks, err := os.ReadDir(filepath.Join(dir, "locks")); err != nil || len(locks) > 0 {
		t.Errorf("locks are left: %v, %v", locks, err)
	}
	// Another way to the same name is another bastion.
	for _, other := range []hostkey.Route{{Name: route.Name}, {Name: route.Name, Via: route.Via[:1]}, {Name: "b.example", Via: route.Via}} {
		if learned, err := (Storage{&certmagic.FileStorage{Path: dir}}).Recall(ctx, other); learned != nil || err != nil {
			t.Errorf("%s: recalled %v, %v", other, learned, err)
		}
	}
}

// TestKeyStorageFails: what cannot be locked, written or read is an error.
func TestKeyStorageFails(t *testing.T) {
	route := hostkey.Route{Name: "b.example"}
	file := sshtest.WriteFile(t, "file", nil)
	if _, err := (Storage{&certmagic.FileStorage{Path: file}}).Learn(t.Context(), route, sshtest.NewKey().PublicKey()); err == nil || !strings.Contains(err.Error(), "locking Caddy's storage: ") {
		t.Errorf("learning: %v", err)
	}
	key := sshtest.NewKey()
	line, certificate := AuthorizedKey(key.PublicKey()), AuthorizedKey(sshtest.Certify(sshtest.NewKey(), key, ssh.Certificate{CertType: ssh.HostCert}))
	for _, content := range []string{
		"", "{", "{}", `{"host": "b.example", "key": "ssh-ed25519 AAAA"}`,
		`{"host": "c.example", "key": "` + line + `"}`,
		`{"host": "b.example", "via": ["a.example"], "key": "` + line + `"}`,
		`{"host": "b.example", "key": "@revoked ` + line + `"}`,
		`{"host": "b.example", "key": "junk\n` + line + `"}`,
		`{"host": "b.example", "key": "` + line + ` comment"}`,
		`{"host": "b.example", "key": "` + certificate + `"}`,
		`{"host": "b.example", "key": "` + line + `", "more": [{}]}`,
		`{"host": "b.example", "key": "` + line + `", "more": [{"key": "` + line + ` comment"}]}`,
		`{"host": "b.example", "more": [{"key": "` + line + `"}]}`,
	} {
		keys := Storage{&certmagic.FileStorage{Path: t.TempDir()}}
		if err := keys.Store(t.Context(), StorageKey(route), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Recall(t.Context(), route); err == nil || !strings.Contains(err.Error(), " in Caddy's storage: ") || !strings.HasSuffix(err.Error(), "; forget it with: caddy ssh-tunnel known-hosts forget b.example") {
			t.Errorf("%q: recalling: %v", content, err)
		}
		// It does not count as nothing.
		if _, err := keys.Learn(t.Context(), route, sshtest.NewKey().PublicKey()); err == nil {
			t.Errorf("%q: learned over it", content)
		}
		if err := keys.Forget(t.Context(), route); err != nil {
			t.Errorf("%q: forgetting: %v", content, err)
		}
		if learned, err := keys.Recall(t.Context(), route); learned != nil || err != nil {
			t.Errorf("%q: after forgetting: %v, %v", content, learned, err)
		}
	}
}

// brokenUnlock is a storage whose locks cannot be given back.
type brokenUnlock struct{ certmagic.Storage }

func (s brokenUnlock) Unlock(ctx context.Context, name string) error {
	return errors.Join(s.Storage.Unlock(ctx, name), errors.New("no"))
}

// TestUnlockFails: what was learned and updated is, whatever becomes of the lock.
func TestUnlockFails(t *testing.T) {
	t.Parallel()
	route, first, second := hostkey.Route{Name: "b.example"}, sshtest.NewKey().PublicKey(), sshtest.NewKey().PublicKey()
	keys := Storage{brokenUnlock{&certmagic.FileStorage{Path: t.TempDir()}}}
	if learned, err := keys.Learn(t.Context(), route, first); err != nil || !learned.Has(first) {
		t.Errorf("learning: %v, %v", learned, err)
	}
	changed, err := keys.Update(t.Context(), route, hostkey.Change{Trusted: first, Add: []ssh.PublicKey{second}})
	if err != nil || len(changed.Add) != 1 {
		t.Errorf("updating: %v, %v", changed, err)
	}
}

// FuzzStoredKey: of what is in the storage only that is taken which Learn writes.
func FuzzStoredKey(f *testing.F) {
	line := AuthorizedKey(sshtest.NewKey().PublicKey())
	f.Add(`{"host": "b.example", "key": "`+line+`"}`, "b.example", "")
	f.Add(`{"host": "[b.example]:2222", "via": ["a.example", "::1"], "key": "`+line+`", "learned": "2026-11-22T18:30:00Z"}`, "[b.example]:2222", "a.example,::1")
	f.Add(`{"host": "b.example", "key": "`+line+`", "more": [{"key": "`+line+`", "learned": "2026-11-22T18:30:00Z"}]}`, "b.example", "")
	f.Add(`{"host": "b.example", "key": "no-pty `+line+` comment"}`, "b.example", "")
	f.Fuzz(func(t *testing.T, content, host, via string) {
		route := hostkey.Route{Name: host}
		if via != "" {
			route.Via = strings.Split(via, ",")
		}
		learned, err := parseStored([]byte(content), route)
		if err != nil {
			if learned != nil {
				t.Fatalf("an error, and a key: %v", err)
			}
			return
		}
		value, err := marshalStored(route, learned.Keys)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseStored(value, route)
		if err != nil || len(again.Keys) != len(learned.Keys) {
			t.Fatalf("for %q took %+v, and read %+v again: %v", route, learned, again, err)
		}
		for i, k := range learned.Keys {
			if !bytes.Equal(again.Keys[i].Key.Marshal(), k.Key.Marshal()) || !again.Keys[i].Learned.Equal(k.Learned) {
				t.Fatalf("took %+v, and read %+v again", k, again.Keys[i])
			}
		}
	})
}

// TestUpdate: what storage of any version has is updated, by several that share it, and
// what was forgotten meanwhile stays so.
func TestUpdate(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	dir := t.TempDir()
	storage := func() Storage { return Storage{&certmagic.FileStorage{Path: dir}} }
	route := hostkey.Route{Name: "b.example", Via: []string{"a.example"}}
	old, next, other := sshtest.NewKey().PublicKey(), sshtest.NewKey().PublicKey(), sshtest.NewKey().PublicKey()
	stored := func() (lines []string) {
		t.Helper()
		learned, err := storage().Recall(t.Context(), route)
		if err != nil {
			t.Fatal(err)
		}
		if learned != nil {
			for _, k := range learned.Keys {
				lines = append(lines, AuthorizedKey(k.Key))
			}
		}
		return lines
	}
	want := func(when string, keys ...ssh.PublicKey) {
		t.Helper()
		var lines []string
		for _, key := range keys {
			lines = append(lines, AuthorizedKey(key))
		}
		if got := stored(); !slices.Equal(got, lines) {
			t.Errorf("%s: stored %q, want %q", when, got, lines)
		}
	}
	// As the first version wrote it.
	value := `{"host":"b.example","via":["a.example"],"key":"` + AuthorizedKey(old) + `","learned":"2026-11-22T18:30:00Z"}`
	if err := storage().Store(t.Context(), StorageKey(route), []byte(value)); err != nil {
		t.Fatal(err)
	}

	// Three connections of different instances get the same list at the same time.
	var changes atomic.Int32
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			changed, err := storage().Update(t.Context(), route, hostkey.Change{Trusted: old, Add: []ssh.PublicKey{next, other}})
			if err != nil {
				t.Error(err)
			}
			if len(changed.Add) == 2 && len(changed.Remove) == 0 {
				changes.Add(1)
			} else if len(changed.Add)+len(changed.Remove) > 0 {
				t.Errorf("changed %+v", changed)
			}
		})
	}
	wg.Wait()
	if n := changes.Load(); n != 1 {
		t.Errorf("%d of 3 say that they have changed it", n)
	}
	want("added", old, next, other)
	// The first version reads one of them.
	var first struct{ Key string }
	content, err := storage().Load(t.Context(), StorageKey(route))
	if err != nil || json.Unmarshal(content, &first) != nil || first.Key != AuthorizedKey(old) {
		t.Errorf("stored %s, %v", content, err)
	}
	learned, err := storage().Recall(t.Context(), route)
	if err != nil || !learned.Keys[0].Learned.Equal(time.Date(2026, 11, 22, 18, 30, 0, 0, time.UTC)) || time.Since(learned.Keys[1].Learned) > time.Minute {
		t.Errorf("recalled %+v, %v", learned, err)
	}

	changed, err := storage().Update(t.Context(), route, hostkey.Change{Trusted: next, Remove: []ssh.PublicKey{old}})
	if err != nil || len(changed.Remove) != 1 || !bytes.Equal(changed.Remove[0].Marshal(), old.Marshal()) {
		t.Errorf("removing: %+v, %v", changed, err)
	}
	want("removed", next, other)

	// A connection with a key that is not learned any more changes nothing.
	for _, change := range []hostkey.Change{
		{Trusted: old, Add: []ssh.PublicKey{old}},
		{Trusted: old, Remove: []ssh.PublicKey{next, other}},
	} {
		if changed, err := storage().Update(t.Context(), route, change); err != nil || len(changed.Add)+len(changed.Remove) > 0 {
			t.Errorf("over a key that was removed: %+v, %v", changed, err)
		}
	}
	want("over a key that was removed", next, other)
	if err := storage().Forget(t.Context(), route); err != nil {
		t.Fatal(err)
	}
	if changed, err := storage().Update(t.Context(), route, hostkey.Change{Trusted: next, Add: []ssh.PublicKey{old}}); err != nil || len(changed.Add) > 0 {
		t.Errorf("after forgetting: %+v, %v", changed, err)
	}
	want("after forgetting")
	if locks, err := os.ReadDir(filepath.Join(dir, "locks")); err != nil || len(locks) > 0 {
		t.Errorf("locks are left: %v, %v", locks, err)
	}
}
