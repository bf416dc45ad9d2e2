package hostkey

import (
	"context"
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
)

// Verifier verifies the host key of one connection, and of its rekeys. Its methods may be
// called at the same time.
type Verifier struct {
	cfg   *Config
	names hostNames
	log   *zap.Logger

	lines        []knownLine // of known_hosts
	written      knownTo     // host_key, host_certificate_authority and revoked_host_keys
	known        knownTo     // both, and what KnownHostsCommand says
	fingerprints []string    // host_key SHA256:…, as ssh.FingerprintSHA256 has it
	searched     []string    // the known_hosts files that were read, and KnownHostsCommand
	skipped      []string    // their lines that may be about the server, and cannot be used

	// unread is why something that is configured is not known, or nil; unrevoked
	// why it is not known what is revoked.
	unread, unrevoked error

	// mu guards what is below, and known once a connection is being made.
	mu sync.Mutex
	// memory is where the key is remembered if it is the first, or nil if that
	// is not to be accepted; learned what it has; recalled whether it had that
	// before the connection.
	memory   Memory
	route    Route
	learned  *LearnedKeys
	recalled bool
	pinned   ssh.PublicKey // accepted by the first key exchange
	// local says that the server is at a loopback address.
	local bool
	// warned are the warnings of KnownHostsCommand that were logged.
	warned []string
	// mistaken are the types of keys that were offered in vain where only
	// fingerprints are known, so that their type is not: see Retry.
	mistaken []string
}

// Load reads all that is known about the server's host key, anew, and logs what it does
// not read. ctx bounds the use of cfg.Memory. An error is a *failure.Error.
func Load(ctx context.Context, cfg *Config, log *zap.Logger) (*Verifier, error) {
	v, warnings, err := read(cfg)
	for _, w := range warnings {
		log.Warn(w)
	}
	if err != nil {
		class := failure.ClassRefused
		if failure.Scarce(err) {
			class = failure.ClassNetwork
		}
		return nil, failure.New(class, failure.CauseConfiguration, err)
	}
	v.log = log
	if err := v.ask(ctx, invokedForOrder, nil); err != nil {
		return nil, err
	}
	if err := v.noAlgorithms(); err != nil {
		return nil, failure.New(failure.ClassRefused, failure.CauseConfiguration, err)
	}
	if cfg.Memory != nil {
		if err := v.recall(ctx); err != nil {
			return nil, failure.New(failure.ClassProtocol, failure.CauseConfiguration, err)
		}
	}
	return v, nil
}

// read reads all that is configured about the server's host key.
func read(cfg *Config) (v *Verifier, warnings []string, err error) {
	v = &Verifier{cfg: cfg, names: lookupNames(cfg.Address, cfg.HostKeyAlias)}
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
			v.unread = err
			continue
		case err != nil:
			// Not ignored: what it revokes must not be trusted.
			return nil, warnings, err
		}
		fileLines, bad := parseKnownHosts(path, data)
		if i := slices.IndexFunc(bad, func(b badLine) bool { return b.revokes && b.isAbout(v.names) }); i >= 0 {
			// Not skipped: what it was to revoke must not be trusted.
			return nil, warnings, bad[i].revocationError()
		}
		for i, b := range bad {
			if i == maxSkipped {
				warnings = append(warnings, fmt.Sprintf("known_hosts %s: %d more lines are skipped", path, len(bad)-i))
				break
			}
			warnings = append(warnings, b.warning())
		}
		for _, b := range bad {
			if b.isAbout(v.names) && len(v.skipped) < maxSkipped {
				v.skipped = append(v.skipped, b.warning())
			}
		}
		v.lines = append(v.lines, fileLines...)
		v.searched = append(v.searched, path)
	}

	for _, s := range cfg.HostKeys {
		key, fingerprint, err := parseHostKey(s)
		if err != nil {
			return nil, warnings, err
		}
		if key != nil {
			v.written.keys = append(v.written.keys, knownKey{key, "host_key"})
		} else {
			v.fingerprints = append(v.fingerprints, fingerprint)
		}
	}
	for _, s := range cfg.HostCertificateAuthorities {
		keys, err := loadAuthorities(s)
		if errors.Is(err, fs.ErrNotExist) {
			warnings = append(warnings, err.Error()+"; no certificate that it signed is accepted until it does")
			v.unread = err
			continue
		}
		if err != nil {
			return nil, warnings, err
		}
		v.written.authorities = append(v.written.authorities, keys...)
		v.written.certificatesFirst = true
	}
	for _, path := range cfg.RevokedHostKeys {
		keys, err := loadRevoked(path)
		if errors.Is(err, fs.ErrNotExist) {
			warnings = append(warnings, err.Error()+"; no host key is accepted until it does")
			v.unrevoked = err
			continue
		}
		if err != nil {
			return nil, warnings, err
		}
		v.written.revoked = append(v.written.revoked, keys...)
	}
	v.know(nil)
	return v, warnings, nil
}

// knowsAnything reports whether there is a key that would be accepted.
func (v *Verifier) knowsAnything() bool {
	return len(v.known.keys)+len(v.known.authorities)+len(v.fingerprints) > 0
}

// Callback returns what verifies the server's key in a handshake that ctx bounds, and in
// the rekeys after it. An error is a *failure.HostKeyError, or a *failure.Error if
// the key is right and cannot be remembered.
func (v *Verifier) Callback(ctx context.Context) ssh.HostKeyCallback {
	return func(_ string, remote net.Addr, key ssh.PublicKey) error {
		tcp, ok := remote.(*net.TCPAddr)
		v.mu.Lock()
		v.local = v.cfg.TrustLoopback && ok && tcp.IP.IsLoopback()
		v.mu.Unlock()
		return v.verify(ctx, key)
	}
}

// verify accepts a key or refuses it. It runs again at each rekey, when the
// streams of a connection must not die of a certificate that has expired or a
// file that is gone: the identical key is accepted, any other is not.
func (v *Verifier) verify(ctx context.Context, key ssh.PublicKey) error {
	v.mu.Lock()
	first := v.pinned == nil && !v.local
	v.mu.Unlock()
	if first {
		if err := v.ask(ctx, invokedForName, key); err != nil {
			return err
		}
	}
	err := v.judge(key)
	if errors.Is(err, errNotLearned) {
		return v.learn(ctx, key)
	}
	return err
}

// judge is verify without what has to be asked of the memory.
func (v *Verifier) judge(key ssh.PublicKey) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pinned != nil {
		if algorithms.SameKey(v.pinned, key) {
			return nil
		}
		return v.refuse(key, failure.CauseHostKeyMismatch, "host key of %q has changed within the connection: first %s, now %s",
			v.cfg.Address, describeHostKey(v.pinned), describeHostKey(key))
	}
	if err := v.check(key); err != nil {
		return err
	}
	v.pinned = key
	return nil
}

// Source says by what a key is known that was accepted, as in "host_key" or
// "/etc/ssh/ssh_known_hosts:12".
func (v *Verifier) Source(key ssh.PublicKey) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if cert, ok := key.(*ssh.Certificate); ok {
		if k, ok := has(v.known.authorities, cert.SignatureKey); ok && v.checkCertificate(cert) == nil {
			return "signed by " + k.source
		}
	}
	for _, keys := range [][]knownKey{v.known.keys, v.known.bare} {
		if k, ok := has(keys, algorithms.PlainKey(key)); ok {
			return k.source
		}
	}
	switch {
	case slices.Contains(v.fingerprints, ssh.FingerprintSHA256(algorithms.PlainKey(key))):
		return "host_key"
	case v.local:
		return "NoHostAuthenticationForLocalhost: not checked"
	case v.cfg.InsecureIgnoreHostKey:
		return "strict_host_key_checking no: not checked"
	default:
		return ""
	}
}

// Accepted returns the server's key or certificate, or nil if none was accepted yet.
func (v *Verifier) Accepted() ssh.PublicKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pinned
}

// Retry tells, after a key was refused, whether connecting once more at once may succeed:
// a fingerprint may be that of another of the server's keys, which Algorithms now asks for.
func (v *Verifier) Retry() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.mistaken); n == 0 || slices.Contains(v.mistaken[:n-1], v.mistaken[n-1]) {
		return false
	}
	return slices.ContainsFunc(v.cfg.HostKeyOption().Names(), func(algo string) bool {
		return !algorithms.IsCertificate(algo) && !slices.Contains(v.mistaken, algorithms.KeyType(algo))
	})
}

// check verifies the key of the first key exchange. The caller holds mu.
func (v *Verifier) check(key ssh.PublicKey) error {
	cert, isCert := key.(*ssh.Certificate)
	if err := v.checkRevoked(key); err != nil {
		return err
	}
	if v.cfg.InsecureIgnoreHostKey || v.local {
		return nil
	}
	if err := v.cfg.CheckSize(key); err != nil {
		return v.refuse(key, failure.CauseHostKeyRefused, "host key of %q is refused: %v; make an Ed25519 key on the bastion with ssh-keygen -A, or a longer one; if neither can be, lower required_rsa_size", v.cfg.Address, err)
	}
	var certErr error
	if isCert {
		if certErr = v.checkCertificate(cert); certErr == nil {
			return nil
		}
	}
	// As in OpenSSH, a certificate that is not valid still shows its bare key.
	plain := algorithms.PlainKey(key)
	if _, ok := has(v.known.keys, plain); ok {
		return nil
	}
	if _, ok := has(v.known.bare, plain); ok && isCert {
		return nil
	}
	if slices.Contains(v.fingerprints, ssh.FingerprintSHA256(plain)) {
		return nil
	}
	if certErr != nil && len(v.known.authorities) > 0 {
		return v.refuse(key, failure.CauseHostKeyRefused, "host certificate of %q is refused: %s %v", v.cfg.Address, describeHostKey(key), certErr)
	}
	if v.memory != nil && v.learned == nil {
		return errNotLearned
	}
	return v.mismatch(key)
}

// mismatch says why a plain key is not accepted, which may be in a certificate.
func (v *Verifier) mismatch(offered ssh.PublicKey) error {
	key := algorithms.PlainKey(offered)
	known := v.expected(key.Type())
	if len(v.fingerprints) > 0 {
		v.mistaken = append(v.mistaken, key.Type())
	}
	switch {
	case v.learned != nil:
		return v.refuse(key, failure.CauseHostKeyMismatch, "host key mismatch for %q: offered %s, but expected %s; "+
			"either somebody is in the middle, or the bastion has a new key: compare it with %s there, and only then forget the old one with: %s",
			v.cfg.Address, describeHostKey(key), strings.Join(known, ", "), KeygenCommand(key), v.learned.Forget)
	case len(known) > 0:
		return v.refuse(key, failure.CauseHostKeyMismatch, "host key mismatch for %q: offered %s, but expected %s; "+
			"either somebody is in the middle, or the bastion has a new key: compare it with %s there before you change what is expected",
			v.cfg.Address, describeHostKey(key), strings.Join(known, ", "), KeygenCommand(key))
	case len(v.known.authorities) > 0:
		return v.refuse(key, failure.CauseHostKeyRefused, "host key of %q has no certificate: offered %s, but expected one signed by %s; set HostCertificate in its sshd_config",
			v.cfg.Address, describeHostKey(key), authorityNames(v.known.authorities))
	default:
		searched := "no known_hosts file"
		if len(v.searched) > 0 {
			searched = strings.Join(v.searched, ", ")
		}
		if len(v.skipped) > 0 {
			searched += " (" + strings.Join(v.skipped, "; ") + ")"
		}
		authority := ""
		if cert, ok := offered.(*ssh.Certificate); ok {
			authority = ", or host_certificate_authority with the key " + ssh.FingerprintSHA256(cert.SignatureKey) + ", which has signed its certificate"
		}
		err := v.refuse(key, failure.CauseHostKeyUnknown, "host key of %q is unknown: offered %s; searched %s for %s; compare it with %s on the bastion, then add host_key %s%s%s",
			v.cfg.Address, describeHostKey(key), searched, v.names.name, KeygenCommand(key), ssh.FingerprintSHA256(key), v.cfg.orKnownHosts(), authority)
		err.Skipped = v.skipped
		return err
	}
}

// expected lists the keys that the server should have shown, those of the
// offered type first, with where they are written.
func (v *Verifier) expected(keyType string) []string {
	const most = 4
	keys := slices.Clone(v.known.keys)
	another := func(k knownKey) int {
		if k.Type() == keyType {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(keys, func(a, b knownKey) int { return another(a) - another(b) })
	var list []string
	for _, k := range keys {
		list = append(list, describeHostKey(k.PublicKey)+" ("+k.source+")")
	}
	for _, fingerprint := range v.fingerprints {
		list = append(list, fingerprint+" (host_key)")
	}
	if len(list) > most {
		list = append(list[:most], fmt.Sprintf("%d more", len(list)-most))
	}
	return list
}

func (v *Verifier) refuse(key ssh.PublicKey, cause failure.Cause, format string, args ...any) *failure.HostKeyError {
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
