// Package storagewrite changes what is in Caddy's storage, which other processes may share.
// It knows nothing of what is stored. Packages autokey and keystorage import it.
package storagewrite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
)

// unlockTimeout bounds giving a lock back, also when what it was for was cancelled.
const unlockTimeout = 5 * time.Second

// Lock takes the lock of a name, which the caller gives back by unlock. Giving it back has
// no error: what was done under the lock is done, and locks expire.
func Lock(ctx context.Context, storage certmagic.Storage, name string) (unlock func(), err error) {
	lock := strings.ReplaceAll(name, "/", "_")
	if err := storage.Lock(ctx, lock); err != nil {
		return nil, explain(ctx, name, "locking", err)
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		_ = storage.Unlock(ctx, lock)
	}, nil
}

// Store stores a value at a name, of which the caller has the lock.
func Store(ctx context.Context, storage certmagic.Storage, name string, value []byte) error {
	if err := storage.Store(ctx, name, value); err != nil {
		return explain(ctx, name, "writing to", err)
	}
	return nil
}

// explain says what to do about an error, unless the time is over.
func explain(ctx context.Context, name, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %s Caddy's storage: %w", name, doing, err)
	}
	return fmt.Errorf("%s: %s Caddy's storage: %w; the storage has to be writable for the user that Caddy runs as, with free space", name, doing, err)
}
