package keyfile

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// cache.go keeps what was decrypted: a key with many KDF rounds takes seconds.

// maxKept is how many keys are kept, which is more than anybody has.
const maxKept = 64

// Key is what a file of a private key holds.
type Key struct {
	ssh.Signer
	// Took is how long this call has decrypted it: nothing if another had.
	Took time.Duration
}

// Parse returns the signer of the private key in a file. An encrypted key is
// decrypted once in the life of the process for the same content and passphrase;
// who comes while that takes place waits for it.
//
// The error is a *ssh.PassphraseMissingError if the key is encrypted and the
// passphrase is empty. Explain says what the others mean.
func Parse(data []byte, passphrase string) (Key, error) {
	if passphrase == "" || !Encrypted(data) {
		signer, err := parse(data, nil)
		return Key{Signer: signer}, err
	}
	return decrypted.get(data, passphrase)
}

var decrypted = cache{kept: map[digest]*entry{}}

type digest [sha256.Size]byte

// cache has the keys that were decrypted, and those that could not be. It has no
// passphrase, but a digest that nobody outside the process can compute.
type cache struct {
	mu   sync.Mutex
	kept map[digest]*entry
}

type entry struct {
	done   chan struct{} // closed when it is decrypted
	signer ssh.Signer
	err    error
}

func (c *cache) get(data []byte, passphrase string) (Key, error) {
	id := digestOf(data, passphrase)
	c.mu.Lock()
	e, found := c.kept[id]
	if !found {
		e = &entry{done: make(chan struct{})}
		if len(c.kept) >= maxKept {
			clear(c.kept)
		}
		c.kept[id] = e
	}
	c.mu.Unlock()

	if found {
		<-e.done
		return Key{Signer: e.signer}, e.err
	}
	defer close(e.done)
	start := time.Now()
	e.signer, e.err = parse(data, []byte(passphrase))
	return Key{e.signer, time.Since(start)}, e.err
}

// salt keeps a digest from telling which passphrase it is of.
var salt = func() []byte {
	b := make([]byte, sha256.Size)
	_, _ = rand.Read(b) // never fails
	return b
}()

func digestOf(data []byte, passphrase string) (id digest) {
	mac := hmac.New(sha256.New, salt)
	_ = binary.Write(mac, binary.BigEndian, uint64(len(data)))
	mac.Write(data)
	mac.Write([]byte(passphrase))
	mac.Sum(id[:0])
	return id
}
