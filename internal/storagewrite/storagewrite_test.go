package storagewrite

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"
)

const name = "ssh_tunnel/identities/x.json"

// TestUnwritable: the error names the place and the fix.
func TestUnwritable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	storage := &certmagic.FileStorage{Path: file}
	_, lockErr := Lock(t.Context(), storage, name)
	for doing, err := range map[string]error{"locking": lockErr, "writing to": Store(t.Context(), storage, name, nil)} {
		if err == nil || !strings.HasPrefix(err.Error(), name+": "+doing+" Caddy's storage: ") || !strings.HasSuffix(err.Error(), "writable for the user that Caddy runs as, with free space") {
			t.Errorf("%s: %v", doing, err)
		}
	}
}

// TestLock: another waits for the lock until its time is over, which is not the storage's
// fault; and gets it once it was given back, even by somebody whose time is over.
func TestLock(t *testing.T) {
	t.Parallel()
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	unlock, err := Lock(ctx, storage, name)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := Lock(ctx, storage, name); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "writable") {
		t.Errorf("while another has it: %v", err)
	}
	unlock()
	again, err := Lock(t.Context(), storage, name)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
