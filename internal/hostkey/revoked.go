// revoked.go reads revoked_host_keys files: keys that no server may have, and
// that may have signed no server's certificate, whatever else is configured.

package hostkey

import (
	"bytes"
	"errors"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
)

// krlMagic begins a binary key revocation list (OpenSSH's PROTOCOL.krl).
const krlMagic = "SSHKRL\n\x00"

// loadRevoked reads a file of public keys, one a line, as .pub, authorized_keys
// and known_hosts files have them. Names, options and markers do not count: a
// listed key is revoked for every server. Unlike a known_hosts file it has to
// be understood whole: what it revokes must not be trusted.
func loadRevoked(path string) ([]knownKey, error) {
	const option = "revoked_host_keys"
	data, err := readfile.Read(option, path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte(krlMagic)) {
		return nil, readfile.Error(option, path, errors.New("is a binary KRL, which is not supported; list the public keys that it was made of, one a line"))
	}
	return parseKeyLines(option, path, data, parseRevoked)
}

func parseRevoked(line string) (ssh.PublicKey, error) {
	if key, err := parsePublicKey(line); err == nil {
		return key, nil
	}
	if known, err := parseKnownLine([]byte(line)); err == nil {
		return known.key, nil
	}
	if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil { //nolint:dogsled // no more of it counts
		return key, nil
	}
	return nil, errors.New("is not a public key; write one a line, as in a .pub file")
}

// checkRevoked refuses a key that is revoked, or a certificate that is, or whose
// key or authority is.
func (v *Verifier) checkRevoked(key ssh.PublicKey) error {
	if v.unrevoked != nil {
		return v.refuse(key, failure.CauseHostKeyRefused, "host key of %q is not accepted: offered %s, but %v", v.cfg.Address, describeHostKey(key), v.unrevoked)
	}
	if k, ok := has(v.known.revoked, algorithms.PlainKey(key)); ok {
		return v.refuse(key, failure.CauseHostKeyRefused, "host key of %q is revoked: %s by %s", v.cfg.Address, describeHostKey(key), k.source)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil
	}
	if k, ok := has(v.known.revoked, cert); ok {
		return v.refuse(key, failure.CauseHostKeyRefused, "host certificate of %q is revoked: %s by %s", v.cfg.Address, describeHostKey(key), k.source)
	}
	if k, ok := has(v.known.revoked, cert.SignatureKey); ok {
		return v.refuse(key, failure.CauseHostKeyRefused, "host certificate of %q is signed by a revoked authority: %s by %s",
			v.cfg.Address, ssh.FingerprintSHA256(cert.SignatureKey), k.source)
	}
	return nil
}
