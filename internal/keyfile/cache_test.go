//go:build unix

package keyfile

import (
	"fmt"
	"sync"
	"testing"
)

// TestDecryptsOnce: however many tunnels have a key, it is decrypted once for each
// content and passphrase.
func TestDecryptsOnce(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen")
	dir := t.TempDir()
	shell(t, dir, "ssh-keygen -q -t ed25519 -a 1 -N horse -f a; ssh-keygen -q -t ed25519 -a 1 -N horse -f b")
	a, b := read(t, dir+"/a"), read(t, dir+"/b")
	for _, c := range []struct {
		data       []byte
		passphrase string
		ok         bool
	}{{a, "horse", true}, {b, "horse", true}, {a, "donkey", false}, {a, "horses", false}} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		times := 0
		for range 8 {
			wg.Go(func() {
				key, err := Parse(c.data, c.passphrase)
				if (err == nil) != c.ok || c.ok && key.Signer == nil {
					t.Errorf("%q: %v", c.passphrase, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if key.Took > 0 {
					times++
				}
			})
		}
		wg.Wait()
		if times != 1 {
			t.Errorf("%q: decrypted %d times", c.passphrase, times)
		}
	}
}

// TestCacheIsBounded: what is decrypted now and then stays for as long as few others are.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen")
	dir := t.TempDir()
	shell(t, dir, "ssh-keygen -q -t ecdsa -m PEM -N horse -f a") // decrypted in no time
	data := read(t, dir+"/a")
	c := cache{kept: map[digest]*entry{}}
	times := 0
	for i := range 2 * maxKept {
		_, _ = c.get(data, fmt.Sprint("wrong ", i))
		key, err := c.get(data, "horse")
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if key.Took > 0 {
			times++
		}
	}
	if times > 3 {
		t.Errorf("decrypted %d times", times)
	}
	if len(c.kept) > maxKept {
		t.Errorf("%d are kept", len(c.kept))
	}
}
