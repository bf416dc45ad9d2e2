package sshauth

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
)

// readableByOthers are the permissions that let group or others read a file.
const readableByOthers fs.FileMode = 0o044

// KeyModes warns once of each private key of a tunnel that others than its owner can
// read, and again when its mode or its content changes. It only warns: the secrets of a
// Kubernetes volume look like that. Its zero value is ready for use, by one goroutine.
type KeyModes struct {
	looked map[string]keyLook // by path
	warned map[string]keyMode // by path
}

// keyLook is how a file looked the last time that it was read.
type keyLook struct {
	mode     fs.FileMode
	size     int64
	modified time.Time
}

// keyMode is what there was a warning of.
type keyMode struct {
	mode   fs.FileMode
	digest [sha256.Size]byte
}

// Look looks at the files of private keys, and logs the warnings.
func (k *KeyModes) Look(paths []string, log func() *zap.Logger) {
	if runtime.GOOS == "windows" {
		return // where access control lists say who can read a file
	}
	if k.looked == nil {
		k.looked, k.warned = map[string]keyLook{}, map[string]keyMode{}
	}
	for _, path := range paths {
		k.lookAt(path, log)
	}
}

// lookAt looks at a file. What is wrong with one that cannot be read is for the
// connect to say.
func (k *KeyModes) lookAt(path string, log func() *zap.Logger) {
	f, err := readfile.Open(path)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() { // to read a pipe takes the key away
		return
	}
	look := keyLook{info.Mode().Perm(), info.Size(), info.ModTime()}
	if look == k.looked[path] {
		return
	}
	k.looked[path] = look
	if look.mode&readableByOthers == 0 {
		delete(k.warned, path)
		return
	}
	data, err := io.ReadAll(io.LimitReader(f, readfile.MaxSize))
	if err != nil || !bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return
	}
	if now := (keyMode{look.mode, sha256.Sum256(data)}); now != k.warned[path] {
		k.warned[path] = now
		log().Warn("private key can be read by others than its owner; run chmod 600 on it",
			zap.String("path", path), zap.String("mode", fmt.Sprintf("%#o", look.mode)))
	}
}
