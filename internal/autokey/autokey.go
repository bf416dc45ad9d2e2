// Package autokey keeps, in Caddy's storage, the private keys that `identity auto`
// generates: one for each name of a tunnel. Whoever shares the storage shares the keys. It
// logs in nowhere. The root, the commands and package configfile import it.
package autokey

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/storagewrite"
)

// folder is where the keys are in the storage.
const folder = "ssh_tunnel/identities"

// Storage is a storage of Caddy that has the keys. FileStorage keeps them as it keeps the
// private keys of certificates: in files that only their owner can read.
type Storage struct{ certmagic.Storage }

// Keys are those of a tunnel, for the login.
type Keys struct {
	Current *Key
	// Next is nil, except between a rotation and the first login with it. It is offered
	// before Current.
	Next *Key
}

// Load returns the keys of a tunnel. Without any, the error wraps fs.ErrNotExist. All
// other errors mean that there may be keys.
func (s Storage) Load(ctx context.Context, tunnel string) (Keys, error) {
	name := storageKey(tunnel)
	value, err := s.Storage.Load(ctx, name)
	if err != nil {
		return Keys{}, fmt.Errorf("%s in Caddy's storage: %w", name, err)
	}
	keys, err := parse(value, tunnel)
	if err != nil {
		return Keys{}, fmt.Errorf("%s in Caddy's storage: %w; restore it from a backup, or delete it to generate another key", name, err)
	}
	return keys, nil
}

// LoadOrCreate returns the keys of a tunnel, and generates the first one. It generates
// none unless the storage says that there is none.
func (s Storage) LoadOrCreate(ctx context.Context, tunnel string) (Keys, error) {
	keys, err := s.Load(ctx, tunnel)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	return s.change(ctx, tunnel, func(keys *Keys) (err error) {
		if keys.Current == nil {
			keys.Current, err = generate()
		}
		return err
	})
}

// Rotate generates a tunnel's next key, unless it has one already. Without a current
// key, the error wraps fs.ErrNotExist.
func (s Storage) Rotate(ctx context.Context, tunnel string) (Keys, error) {
	return s.change(ctx, tunnel, func(keys *Keys) (err error) {
		switch {
		case keys.Current == nil:
			return fmt.Errorf("%s in Caddy's storage: %w", storageKey(tunnel), fs.ErrNotExist)
		case keys.Next == nil:
			keys.Next, err = generate()
		}
		return err
	})
}

// Confirm is to be called after a login with a key of a tunnel. If the key is the next
// one, it becomes the current one, and Confirm returns the one that it deletes. Otherwise
// nothing changes.
func (s Storage) Confirm(ctx context.Context, tunnel string, key ssh.PublicKey) (removed ssh.PublicKey, err error) {
	_, err = s.change(ctx, tunnel, func(keys *Keys) error {
		if keys.Next != nil && bytes.Equal(keys.Next.PublicKey().Marshal(), key.Marshal()) {
			removed = keys.Current.PublicKey()
			*keys = Keys{Current: keys.Next}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

// change changes the keys of a tunnel under the storage's lock, and stores them if they
// are others then. Keys that cannot be read are not changed.
func (s Storage) change(ctx context.Context, tunnel string, change func(*Keys) error) (Keys, error) {
	name := storageKey(tunnel)
	unlock, err := storagewrite.Lock(ctx, s.Storage, name)
	if err != nil {
		return Keys{}, err
	}
	defer unlock()
	keys, err := s.Load(ctx, tunnel)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Keys{}, err
	}
	before := keys
	if err := change(&keys); err != nil {
		return Keys{}, err
	}
	if keys == before {
		return keys, nil
	}
	value, err := json.Marshal(stored{tunnel, keys.Current, keys.Next})
	if err != nil {
		return Keys{}, err
	}
	if err := storagewrite.Store(ctx, s.Storage, name, value); err != nil {
		return Keys{}, err
	}
	return keys, nil
}

// stored is what the storage has of a tunnel, as JSON.
type stored struct {
	Tunnel  string `json:"tunnel"`
	Current *Key   `json:"current"`
	Next    *Key   `json:"next,omitempty"`
}

// parse reads what the storage has of a tunnel. Anything but what change writes is an
// error, so that nothing replaces it.
func parse(value []byte, tunnel string) (Keys, error) {
	var found stored
	if err := json.Unmarshal(value, &found); err != nil {
		return Keys{}, errors.New("it is not the JSON of a key") // err may have some of the key
	}
	switch {
	case found.Tunnel != tunnel:
		return Keys{}, fmt.Errorf("it is of tunnel %q", found.Tunnel)
	case found.Current == nil:
		return Keys{}, errors.New("it has no key")
	}
	for _, key := range []*Key{found.Current, found.Next} {
		if key == nil {
			continue
		}
		if err := key.parse(); err != nil {
			return Keys{}, err
		}
	}
	return Keys{Current: found.Current, Next: found.Next}, nil
}

// storageKey returns where the keys of a tunnel are in the storage. The name is a digest:
// names of tunnels may have characters, or be in length, what a storage does not take.
func storageKey(tunnel string) string {
	digest := sha256.Sum256([]byte(tunnel))
	return path.Join(folder, hex.EncodeToString(digest[:])+".json")
}
