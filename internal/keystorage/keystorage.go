// Package keystorage keeps, in Caddy's storage, the host keys that were accepted because
// they were the first, and those that followed; whoever shares the storage shares them.
// It does not decide whether one is accepted: package hostkey does.
// The root, the commands and package configfile import it.
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

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/storagewrite"
)

// keyFolder is where the keys are in the storage.
const keyFolder = "ssh_tunnel/host_keys"

// Storage is a hostkey.Memory.
type Storage struct{ certmagic.Storage }

// Route is what is stored about a route, as JSON.
type Route struct {
	Host string   `json:"host"` // as known_hosts files have it
	Via  []string `json:"via,omitempty"`

	// Key is the first of the keys, More are the others, in the order in which they were
	// learned.
	Key
	More []Key `json:"more,omitempty"`
}

// Key is a key that was learned.
type Key struct {
	Line    string    `json:"key"` // as in a .pub file
	Learned time.Time `json:"learned"`
}

// Recall implements hostkey.Memory.
func (s Storage) Recall(ctx context.Context, route hostkey.Route) (*hostkey.LearnedKeys, error) {
	value, err := s.Load(ctx, StorageKey(route))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil: // which says nothing about the keys
		return nil, fmt.Errorf("%s in Caddy's storage: %w", StorageKey(route), err)
	}
	learned, err := parseStored(value, route)
	if err != nil {
		return nil, fmt.Errorf("%s in Caddy's storage: %w; forget it with: %s", StorageKey(route), err, ForgetLine(route))
	}
	return learned, nil
}

// Learn implements hostkey.Memory.
func (s Storage) Learn(ctx context.Context, route hostkey.Route, key ssh.PublicKey) (*hostkey.LearnedKeys, error) {
	unlock, err := storagewrite.Lock(ctx, s.Storage, StorageKey(route))
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Somebody else may have had the lock before.
	if learned, err := s.Recall(ctx, route); learned != nil || err != nil {
		return learned, err
	}
	learned := &hostkey.LearnedKeys{Keys: []hostkey.LearnedKey{{Key: key, Learned: now()}}, Forget: ForgetLine(route)}
	return learned, s.store(ctx, route, learned.Keys)
}

// Update implements hostkey.Memory.
func (s Storage) Update(ctx context.Context, route hostkey.Route, change hostkey.Change) (changed hostkey.Change, err error) {
	unlock, err := storagewrite.Lock(ctx, s.Storage, StorageKey(route))
	if err != nil {
		return hostkey.Change{}, err
	}
	defer unlock()
	learned, err := s.Recall(ctx, route)
	if err != nil || learned == nil || !learned.Has(change.Trusted) {
		return hostkey.Change{}, err // forgotten meanwhile
	}
	changed.Trusted = change.Trusted
	var keys []hostkey.LearnedKey
	for _, k := range learned.Keys {
		if slices.ContainsFunc(change.Remove, func(key ssh.PublicKey) bool { return algorithms.SameKey(key, k.Key) }) {
			changed.Remove = append(changed.Remove, k.Key)
		} else {
			keys = append(keys, k)
		}
	}
	for _, key := range change.Add {
		if !learned.Has(key) {
			changed.Add = append(changed.Add, key)
			keys = append(keys, hostkey.LearnedKey{Key: key, Learned: now()})
		}
	}
	if len(changed.Add)+len(changed.Remove) == 0 {
		return hostkey.Change{}, nil // somebody else was first
	}
	if err := s.store(ctx, route, keys); err != nil {
		return hostkey.Change{}, err
	}
	return changed, nil
}

// now is when a key is learned.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// store writes a route's keys. The caller has the lock.
func (s Storage) store(ctx context.Context, route hostkey.Route, keys []hostkey.LearnedKey) error {
	value, err := marshalStored(route, keys)
	if err != nil {
		return err
	}
	return storagewrite.Store(ctx, s.Storage, StorageKey(route), value)
}

// marshalStored returns what is stored of a route.
func marshalStored(route hostkey.Route, keys []hostkey.LearnedKey) ([]byte, error) {
	stored := Route{Host: route.Name, Via: route.Via}
	for i, k := range keys {
		key := Key{Line: AuthorizedKey(k.Key), Learned: k.Learned}
		if i == 0 {
			stored.Key = key
		} else {
			stored.More = append(stored.More, key)
		}
	}
	return json.Marshal(stored)
}

// parseStored reads what is stored of a route. Anything but what marshalStored returns is
// an error: half a file, or one that was copied from another route's name, must
// not be the reason to trust a key.
func parseStored(value []byte, route hostkey.Route) (*hostkey.LearnedKeys, error) {
	var stored Route
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	if StorageKey(stored.Route()) != StorageKey(route) {
		return nil, fmt.Errorf("it is about %q", stored.Route())
	}
	learned := &hostkey.LearnedKeys{Forget: ForgetLine(route)}
	for _, k := range stored.Keys() {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Line)) //nolint:dogsled // there is no more of it
		if err != nil {
			return nil, err
		}
		if _, isCertificate := key.(*ssh.Certificate); isCertificate || AuthorizedKey(key) != k.Line {
			return nil, errors.New("its key is not one as in a .pub file")
		}
		learned.Keys = append(learned.Keys, hostkey.LearnedKey{Key: key, Learned: k.Learned})
	}
	return learned, nil
}

// All returns all that is stored, by host. What cannot be read is in the error.
func (s Storage) All(ctx context.Context) ([]Route, error) {
	names, err := s.List(ctx, keyFolder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Route
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
	slices.SortFunc(all, func(a, b Route) int { return strings.Compare(a.Route().String(), b.Route().String()) })
	return all, errors.Join(unread...)
}

// Forget removes a route's keys, so that the next one is the first again.
func (s Storage) Forget(ctx context.Context, route hostkey.Route) error {
	return s.Delete(ctx, StorageKey(route))
}

// Read returns what is stored at a name of the storage.
func (s Storage) Read(ctx context.Context, name string) (stored Route, err error) {
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

// Route is where the keys belong.
func (r Route) Route() hostkey.Route { return hostkey.Route{Name: r.Host, Via: r.Via} }

// Keys are all of them, the first learned first.
func (r Route) Keys() []Key { return append([]Key{r.Key}, r.More...) }

// Describe names the key by type and fingerprint, as ssh does.
func (k Key) Describe() string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.Line)) //nolint:dogsled // there is no more of it
	if err != nil {
		return "unreadable"
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// StorageKey returns where a route's keys are in the storage. Its name is a
// digest: names of hosts may have characters, or be in length, what a storage
// does not take.
func StorageKey(route hostkey.Route) string {
	digest := sha256.Sum256([]byte(strings.Join(append([]string{route.Name}, route.Via...), "\n")))
	return path.Join(keyFolder, hex.EncodeToString(digest[:])+".json")
}

// ForgetLine returns the command line that forgets a route's keys.
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
