// Package keystorage keeps, in Caddy's storage, the host keys that were accepted because
// they were the first; whoever shares the storage shares them. It does not decide whether one is accepted: package hostkey does.
// The root and the commands import it.
package keystorage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
)

// keyFolder is where the keys are in the storage.
const keyFolder = "ssh_tunnel/host_keys"

// unlockTimeout bounds giving a lock back, also when what it was for was
// cancelled.
const unlockTimeout = 5 * time.Second

// Storage is a hostkey.Memory.
type Storage struct{ certmagic.Storage }

// Key is what is stored about a route, as JSON.
type Key struct {
	Host string   `json:"host"` // as known_hosts files have it
	Via  []string `json:"via,omitempty"`
	Key  string   `json:"key"` // as in a .pub file

	Learned time.Time `json:"learned"`
}

// Recall implements hostkey.Memory.
func (s Storage) Recall(ctx context.Context, route hostkey.Route) (*hostkey.LearnedKey, error) {
	value, err := s.Load(ctx, StorageKey(route))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil: // which says nothing about the key
		return nil, fmt.Errorf("%s in Caddy's storage: %w", StorageKey(route), err)
	}
	stored, key, err := parseStored(value, route)
	if err != nil {
		return nil, fmt.Errorf("%s in Caddy's storage: %w; forget it with: %s", StorageKey(route), err, ForgetLine(route))
	}
	return &hostkey.LearnedKey{Key: key, Learned: stored.Learned, Forget: ForgetLine(route)}, nil
}

// Learn implements hostkey.Memory.
func (s Storage) Learn(ctx context.Context, route hostkey.Route, key ssh.PublicKey) (learned *hostkey.LearnedKey, err error) {
	lock := strings.ReplaceAll(StorageKey(route), "/", "_")
	if err := s.Lock(ctx, lock); err != nil {
		return nil, fmt.Errorf("locking Caddy's storage: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockTimeout)
		defer cancel()
		err = errors.Join(err, s.Unlock(ctx, lock))
	}()
	// Somebody else may have had the lock before.
	if learned, err := s.Recall(ctx, route); learned != nil || err != nil {
		return learned, err
	}
	stored := Key{Host: route.Name, Via: route.Via, Key: AuthorizedKey(key), Learned: time.Now().UTC().Truncate(time.Second)}
	value, err := json.Marshal(stored)
	if err != nil {
		return nil, err
	}
	if err := s.Store(ctx, StorageKey(route), value); err != nil {
		return nil, fmt.Errorf("writing to Caddy's storage: %w", err)
	}
	return &hostkey.LearnedKey{Key: key, Learned: stored.Learned, Forget: ForgetLine(route)}, nil
}

// parseStored reads what is stored of a route. Anything but what Learn writes is
// an error: half a file, or one that was copied from another route's name, must
// not be the reason to trust a key.
func parseStored(value []byte, route hostkey.Route) (stored Key, key ssh.PublicKey, err error) {
	if err := json.Unmarshal(value, &stored); err != nil {
		return Key{}, nil, err
	}
	if StorageKey(stored.Route()) != StorageKey(route) {
		return Key{}, nil, fmt.Errorf("it is about %q", stored.Route())
	}
	if key, _, _, _, err = ssh.ParseAuthorizedKey([]byte(stored.Key)); err != nil { //nolint:dogsled // there is no more of it
		return Key{}, nil, err
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate || AuthorizedKey(key) != stored.Key {
		return Key{}, nil, errors.New("its key is not one as in a .pub file")
	}
	return stored, key, nil
}

// All returns all that is stored, by host. What cannot be read is in the error.
func (s Storage) All(ctx context.Context) ([]Key, error) {
	names, err := s.List(ctx, keyFolder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Key
	var unread []error
	for _, name := range names {
		stored, err := s.Read(ctx, name)
		switch {
		case err == nil:
			all = append(all, stored)
		case !errors.Is(err, fs.ErrNotExist): // forgotten meanwhile
			unread = append(unread, fmt.Errorf("%s in the storage: %w", name, err))
		}
	}
	slices.SortFunc(all, func(a, b Key) int { return strings.Compare(a.Route().String(), b.Route().String()) })
	return all, errors.Join(unread...)
}

// Forget removes a route's key, so that the next one is the first again.
func (s Storage) Forget(ctx context.Context, route hostkey.Route) error {
	return s.Delete(ctx, StorageKey(route))
}

// Read returns what is stored at a name of the storage.
func (s Storage) Read(ctx context.Context, name string) (stored Key, err error) {
	value, err := s.Load(ctx, name)
	if err == nil {
		err = json.Unmarshal(value, &stored)
	}
	return stored, err
}

// AuthorizedKey is a key as "<type> <base64>".
func AuthorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// Route is where the key belongs.
func (k Key) Route() hostkey.Route { return hostkey.Route{Name: k.Host, Via: k.Via} }

// Describe names the key by type and fingerprint, as ssh does.
func (k Key) Describe() string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Key)) //nolint:dogsled // there is no more of it
	if err != nil {
		return "unreadable"
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// StorageKey returns where a route's key is in the storage. Its name is a
// digest: names of hosts may have characters, or be in length, what a storage
// does not take.
func StorageKey(route hostkey.Route) string {
	digest := sha256.Sum256([]byte(strings.Join(append([]string{route.Name}, route.Via...), "\n")))
	return path.Join(keyFolder, hex.EncodeToString(digest[:])+".json")
}

// ForgetLine returns the command line that forgets a route's key.
func ForgetLine(route hostkey.Route) string {
	line := "caddy ssh-tunnel known-hosts forget " + shellWord(route.Name)
	if len(route.Via) > 0 {
		line += " --via " + shellWord(strings.Join(route.Via, ","))
	}
	return line
}

// shellWord quotes what a shell takes for a pattern: the brackets of a host with
// a port.
func shellWord(s string) string {
	if strings.ContainsAny(s, "[]*?!' ") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
