// hostkeys.go decides whether the bastion is the one that is meant.

package tunnel

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// hostKeys verifies one connection's host key.
type hostKeys struct {
	cfg   *Config
	names hostNames
	log   *zap.Logger

	known        knownTo         // known_hosts, host_key and host_certificate_authority
	fingerprints map[string]bool // host_key SHA256:…, as ssh.FingerprintSHA256 has it
	searched     []string        // the known_hosts files that were read
	skipped      []string        // what they have that may be about the bastion, and is of no use

	// unread is why something that is configured is not known, or nil; unrevoked
	// why it is not known what is revoked.
	unread, unrevoked error

	// mu guards what is below, and known once a connection is being made.
	mu sync.Mutex
	// memory is where the key is remembered if it is the first, or nil if that
	// is not to be accepted; learned what it has.
	memory  KeyMemory
	route   Route
	learned *LearnedKey
	pinned  ssh.PublicKey // accepted by the first key exchange
	// mistaken are the types of keys that were offered in vain where only
	// fingerprints are known, so that their type is not: see another.
	mistaken []string
}

// loadHostKeys reads all that is known about the bastion's host key, anew.
func loadHostKeys(cfg *Config, log *zap.Logger) (*hostKeys, error) {
	h, warnings, err := readHostKeys(cfg)
	if h != nil {
		h.log = log
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	return h, err
}

// maxSkipped is how many lines of a file warnings and errors name.
const maxSkipped = 3

// HostKeyWarnings says what is not read of the files that a bastion's host key is
// verified against, as in "known_hosts line /etc/ssh/ssh_known_hosts:3 is skipped: …".
func (cfg *Config) HostKeyWarnings() []string {
	_, warnings, _ := readHostKeys(cfg) // its error is a connect's
	return warnings
}

// readHostKeys is loadHostKeys with its warnings returned.
func readHostKeys(cfg *Config) (h *hostKeys, warnings []string, err error) {
	h = &hostKeys{cfg: cfg, names: lookupNames(cfg.Address, cfg.HostKeyAlias), fingerprints: map[string]bool{}}
	var lines []knownLine
	for _, path := range cfg.KnownHosts {
		if path == os.DevNull {
			continue
		}
		data, err := readfile.Read("known_hosts", path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission) && cfg.defaultKnownHosts():
			warnings = append(warnings, err.Error())
			h.unread = err
			continue
		case err != nil:
			// Not passed over: what it revokes must not be trusted.
			return nil, warnings, err
		}
		fileLines, bad := parseKnownHosts(path, data)
		if i := slices.IndexFunc(bad, func(b badLine) bool { return b.revokes && b.isAbout(h.names) }); i >= 0 {
			// Not skipped: what it was to revoke must not be trusted.
			return nil, warnings, fmt.Errorf("%s is to revoke a key and cannot be read: %w; correct it, or remove it", bad[i].name(), bad[i].err)
		}
		for i, b := range bad {
			if i == maxSkipped {
				warnings = append(warnings, fmt.Sprintf("known_hosts %s: %d more lines are skipped", path, len(bad)-i))
				break
			}
			warnings = append(warnings, b.warning())
		}
		for _, b := range bad {
			if b.isAbout(h.names) && len(h.skipped) < maxSkipped {
				h.skipped = append(h.skipped, b.warning())
			}
		}
		lines = append(lines, fileLines...)
		h.searched = append(h.searched, path)
	}
	h.known = about(lines, h.names)

	for _, s := range cfg.HostKeys {
		key, fingerprint, err := parseHostKey(s)
		if err != nil {
			return nil, warnings, err
		}
		if key != nil {
			h.known.keys = append(h.known.keys, knownKey{key, "host_key"})
		} else {
			h.fingerprints[fingerprint] = true
		}
	}
	for _, s := range cfg.HostCertificateAuthorities {
		keys, err := loadAuthorities(s)
		if errors.Is(err, fs.ErrNotExist) {
			warnings = append(warnings, err.Error()+"; no certificate that it signed is accepted until it does")
			h.unread = err
			continue
		}
		if err != nil {
			return nil, warnings, err
		}
		h.known.authorities = append(h.known.authorities, keys...)
		h.known.certificatesFirst = true
	}
	for _, path := range cfg.RevokedHostKeys {
		keys, err := loadRevoked(path)
		if errors.Is(err, fs.ErrNotExist) {
			warnings = append(warnings, err.Error()+"; no host key is accepted until it does")
			h.unrevoked = err
			continue
		}
		if err != nil {
			return nil, warnings, err
		}
		h.known.revoked = append(h.known.revoked, keys...)
	}
	return h, warnings, nil
}

// knowsAnything tells whether there is a key that would be accepted.
func (h *hostKeys) knowsAnything() bool {
	return len(h.known.keys)+len(h.known.authorities)+len(h.fingerprints) > 0
}

// parseHostKey parses a host_key: either a key or a fingerprint.
func parseHostKey(s string) (key ssh.PublicKey, fingerprint string, err error) {
	if digest, ok := strings.CutPrefix(s, "SHA256:"); ok {
		digest = strings.TrimRight(digest, "=")
		if b, err := base64.RawStdEncoding.DecodeString(digest); err != nil || len(b) != 32 {
			return nil, "", fmt.Errorf("host_key %s is not a whole SHA256 fingerprint; copy it from ssh-keygen -lf", redact.Quote(s))
		}
		return nil, "SHA256:" + digest, nil
	}
	key, err = parsePublicKey(s)
	if err != nil {
		return nil, "", fmt.Errorf("host_key %s %w; write SHA256:<fingerprint> or <type> <base64>", redact.Quote(s), err)
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return nil, "", fmt.Errorf("host_key %s is a certificate; write its authority's key as host_certificate_authority", redact.Quote(s))
	}
	return key, "", nil
}

// parsePublicKey parses "<type> <base64> [comment]".
func parsePublicKey(s string) (ssh.PublicKey, error) {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return nil, errors.New("is not of the form <type> <base64>")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("is not valid base64; copy the whole line")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("is not a valid key: %s", strings.TrimPrefix(err.Error(), "ssh: "))
	}
	if key.Type() != fields[0] {
		return nil, fmt.Errorf("says %q but holds a key of type %q", fields[0], key.Type())
	}
	return key, nil
}

// verifier returns an ssh.HostKeyCallback for a handshake that ctx bounds.
func (h *hostKeys) verifier(ctx context.Context) ssh.HostKeyCallback {
	return func(_ string, _ net.Addr, key ssh.PublicKey) error { return h.verify(ctx, key) }
}

// verify accepts a key or refuses it. It runs again at each rekey, when the
// streams of a connection must not die of a certificate that has expired or a
// file that is gone: the identical key is accepted, any other is not.
func (h *hostKeys) verify(ctx context.Context, key ssh.PublicKey) error {
	err := h.judge(key)
	if errors.Is(err, errNotLearned) {
		return h.learn(ctx, key)
	}
	return err
}

// judge is verify without what has to be asked of the memory.
func (h *hostKeys) judge(key ssh.PublicKey) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pinned != nil {
		if algorithms.SameKey(h.pinned, key) {
			return nil
		}
		return h.refuse(key, failure.CauseHostKeyMismatch, "host key of %q has changed within the connection: first %s, now %s",
			h.cfg.Address, describeHostKey(h.pinned), describeHostKey(key))
	}
	if err := h.check(key); err != nil {
		return err
	}
	h.pinned = key
	return nil
}

// knownBy says by what a key is known that was accepted, as in "host_key" or
// "/etc/ssh/ssh_known_hosts:12".
func (h *hostKeys) knownBy(key ssh.PublicKey) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if cert, ok := key.(*ssh.Certificate); ok {
		if k, ok := has(h.known.authorities, cert.SignatureKey); ok && h.checkCertificate(cert) == nil {
			return "signed by " + k.source
		}
	}
	for _, keys := range [][]knownKey{h.known.keys, h.known.bare} {
		if k, ok := has(keys, algorithms.PlainKey(key)); ok {
			return k.source
		}
	}
	switch {
	case h.fingerprints[ssh.FingerprintSHA256(algorithms.PlainKey(key))]:
		return "host_key"
	case h.cfg.InsecureIgnoreHostKey:
		return "strict_host_key_checking no: not checked"
	default:
		return ""
	}
}

// accepted returns the bastion's key or certificate, or nil before verify.
func (h *hostKeys) accepted() ssh.PublicKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pinned
}

// another tells, after verify has refused a key, whether a fingerprint may be
// that of another of the bastion's keys. If so, algorithms now asks for that,
// and connecting once more at once may succeed.
func (h *hostKeys) another() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.mistaken); n == 0 || slices.Contains(h.mistaken[:n-1], h.mistaken[n-1]) {
		return false
	}
	return slices.ContainsFunc(h.cfg.HostKeyOption().Names(), func(algo string) bool {
		return !algorithms.IsCertificate(algo) && !slices.Contains(h.mistaken, algorithms.KeyType(algo))
	})
}

// check verifies the key of the first key exchange. The caller holds mu.
func (h *hostKeys) check(key ssh.PublicKey) error {
	cert, isCert := key.(*ssh.Certificate)
	if err := h.checkRevoked(key); err != nil {
		return err
	}
	if h.cfg.InsecureIgnoreHostKey {
		return nil
	}
	if err := h.cfg.CheckSize(key); err != nil {
		return h.refuse(key, failure.CauseHostKeyRefused, "host key of %q is refused: %v; make an Ed25519 key on the bastion with ssh-keygen -A, or a longer one; if neither can be, lower required_rsa_size", h.cfg.Address, err)
	}
	var certErr error
	if isCert {
		if certErr = h.checkCertificate(cert); certErr == nil {
			return nil
		}
	}
	// As in OpenSSH, a certificate that is not valid still shows its bare key.
	plain := algorithms.PlainKey(key)
	if _, ok := has(h.known.keys, plain); ok {
		return nil
	}
	if _, ok := has(h.known.bare, plain); ok && isCert {
		return nil
	}
	if h.fingerprints[ssh.FingerprintSHA256(plain)] {
		return nil
	}
	if certErr != nil && len(h.known.authorities) > 0 {
		return h.refuse(key, failure.CauseHostKeyRefused, "host certificate of %q is refused: %s %v", h.cfg.Address, describeHostKey(key), certErr)
	}
	if h.memory != nil && h.learned == nil {
		return errNotLearned
	}
	return h.mismatch(key)
}

// mismatch says why a plain key is not accepted, which may be in a certificate.
func (h *hostKeys) mismatch(offered ssh.PublicKey) error {
	key := algorithms.PlainKey(offered)
	known := h.expected(key.Type())
	if len(h.fingerprints) > 0 {
		h.mistaken = append(h.mistaken, key.Type())
	}
	switch {
	case h.learned != nil:
		return h.refuse(key, failure.CauseHostKeyMismatch, "host key mismatch for %q: offered %s, but expected %s; "+
			"either somebody is in the middle, or the bastion has a new key: compare it with %s there, and only then forget the old one with: %s",
			h.cfg.Address, describeHostKey(key), strings.Join(known, ", "), KeygenCommand(key), h.learned.Forget)
	case len(known) > 0:
		return h.refuse(key, failure.CauseHostKeyMismatch, "host key mismatch for %q: offered %s, but expected %s; "+
			"either somebody is in the middle, or the bastion has a new key: compare it with %s there before you change what is expected",
			h.cfg.Address, describeHostKey(key), strings.Join(known, ", "), KeygenCommand(key))
	case len(h.known.authorities) > 0:
		return h.refuse(key, failure.CauseHostKeyRefused, "host key of %q has no certificate: offered %s, but expected one signed by %s; set HostCertificate in its sshd_config",
			h.cfg.Address, describeHostKey(key), authorityNames(h.known.authorities))
	default:
		searched := "no known_hosts file"
		if len(h.searched) > 0 {
			searched = strings.Join(h.searched, ", ")
		}
		if len(h.skipped) > 0 {
			searched += " (" + strings.Join(h.skipped, "; ") + ")"
		}
		authority := ""
		if cert, ok := offered.(*ssh.Certificate); ok {
			authority = ", or host_certificate_authority with the key " + ssh.FingerprintSHA256(cert.SignatureKey) + ", which has signed its certificate"
		}
		err := h.refuse(key, failure.CauseHostKeyUnknown, "host key of %q is unknown: offered %s; searched %s for %s; compare it with %s on the bastion, then add host_key %s%s%s",
			h.cfg.Address, describeHostKey(key), searched, h.names.name, KeygenCommand(key), ssh.FingerprintSHA256(key), h.cfg.orKnownHosts(), authority)
		err.Skipped = h.skipped
		return err
	}
}

// orKnownHosts is what an error adds where it advises to write host_key.
func (cfg *Config) orKnownHosts() string {
	if len(cfg.KnownHosts) > 0 && !slices.ContainsFunc(cfg.KnownHosts, func(path string) bool { return path != os.DevNull }) {
		return ""
	}
	return " or a known_hosts line"
}

// expected lists the keys that the bastion should have shown, those of the
// offered type first, with where they are written.
func (h *hostKeys) expected(keyType string) []string {
	const most = 4
	keys := slices.Clone(h.known.keys)
	slices.SortStableFunc(keys, func(a, b knownKey) int {
		switch {
		case a.Type() == b.Type():
			return 0
		case a.Type() == keyType:
			return -1
		case b.Type() == keyType:
			return 1
		default:
			return 0
		}
	})
	var list []string
	for _, k := range keys {
		list = append(list, describeHostKey(k.PublicKey)+" ("+k.source+")")
	}
	for _, s := range h.cfg.HostKeys { // not the map: in the written order
		if _, fingerprint, err := parseHostKey(s); err == nil && fingerprint != "" {
			list = append(list, fingerprint+" (host_key)")
		}
	}
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("%d more", len(list)-most))
	}
	return list
}

func (h *hostKeys) refuse(key ssh.PublicKey, cause failure.Cause, format string, args ...any) *failure.HostKeyError {
	return &failure.HostKeyError{
		Message: fmt.Sprintf(format, args...),
		Offered: ssh.FingerprintSHA256(algorithms.PlainKey(key)),
		Key:     algorithms.PlainKey(key),
		Cause:   cause,
	}
}

// describeHostKey names a host key as ssh does: by type and fingerprint.
func describeHostKey(key ssh.PublicKey) string {
	return key.Type() + " " + ssh.FingerprintSHA256(algorithms.PlainKey(key))
}

// KeygenCommand is what shows the fingerprint of such a key on the bastion.
func KeygenCommand(key ssh.PublicKey) string {
	kind := "ed25519"
	switch {
	case key.Type() == ssh.KeyAlgoRSA:
		kind = "rsa"
	case strings.HasPrefix(key.Type(), "ecdsa-"):
		kind = "ecdsa"
	}
	return "ssh-keygen -lf /etc/ssh/ssh_host_" + kind + "_key.pub"
}
