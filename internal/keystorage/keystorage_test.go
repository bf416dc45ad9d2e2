package keystorage

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	got := make([]*hostkey.LearnedKey, 3)
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
		if a, b := ssh.FingerprintSHA256(learned.Key), ssh.FingerprintSHA256(got[0].Key); a != b {
			t.Errorf("learned %s and %s", a, b)
		}
		if !learned.Learned.Equal(got[0].Learned) || time.Since(learned.Learned) > time.Minute {
			t.Errorf("learned at %s", learned.Learned)
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

// FuzzStoredKey: of what is in the storage only that is taken which Learn writes.
func FuzzStoredKey(f *testing.F) {
	line := AuthorizedKey(sshtest.NewKey().PublicKey())
	f.Add(`{"host": "b.example", "key": "`+line+`"}`, "b.example", "")
	f.Add(`{"host": "[b.example]:2222", "via": ["a.example", "::1"], "key": "`+line+`", "learned": "2026-11-22T18:30:00Z"}`, "[b.example]:2222", "a.example,::1")
	f.Add(`{"host": "b.example", "key": "no-pty `+line+` comment"}`, "b.example", "")
	f.Fuzz(func(t *testing.T, content, host, via string) {
		route := hostkey.Route{Name: host}
		if via != "" {
			route.Via = strings.Split(via, ",")
		}
		stored, key, err := parseStored([]byte(content), route)
		if err != nil {
			if key != nil {
				t.Fatalf("an error, and a key: %v", err)
			}
			return
		}
		if stored.Key != AuthorizedKey(key) || StorageKey(stored.Route()) != StorageKey(route) {
			t.Fatalf("for %q took %+v", route, stored)
		}
		value, err := json.Marshal(stored)
		if err != nil {
			t.Fatal(err)
		}
		if _, again, err := parseStored(value, route); err != nil || !bytes.Equal(again.Marshal(), key.Marshal()) {
			t.Fatalf("read again: %v", err)
		}
	})
}
