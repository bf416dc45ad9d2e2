// certificate.go reads a user's certificates, and says what is wrong with them.

package sshauth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
)

// Certificate is a user certificate (OpenSSH's PROTOCOL.certkeys) that a login offers.
type Certificate struct {
	*ssh.Certificate
	// Path is its file, or that which its placeholder stands for. It is "" for another
	// text, and for one that the agent holds.
	Path string
	// FromAgent says that the agent holds it, which renews it.
	FromAgent bool

	raw string // of Config.Certificates, or ""
}

// PermitsForwarding reports whether the certificate has the extension
// permit-port-forwarding (ssh-keygen(1)). Without it, OpenSSH refuses every channel.
func (c Certificate) PermitsForwarding() bool { return forwardingFlaw(c.Certificate) == "" }

// loadCertificate reads a user's certificate.
func loadCertificate(option, path string) (*ssh.Certificate, error) {
	data, err := readfile.Read(option, path)
	if err != nil {
		return nil, err
	}
	cert, err := parseCertificate(data)
	switch {
	case errors.Is(err, errNoCertificate):
		return nil, readfile.Error(option, path, keyfile.ExplainPublic(path, data))
	case err != nil:
		return nil, readfile.Error(option, path, err)
	}
	return cert, nil
}

// principalFlaw says why a certificate may not be valid for a user, or "".
func principalFlaw(cert *ssh.Certificate, user string) string {
	const unless = "the bastion refuses it, unless its AuthorizedPrincipalsFile says otherwise"
	switch {
	case slices.Contains(cert.ValidPrincipals, user):
		return ""
	case len(cert.ValidPrincipals) == 0:
		return "has no principals: " + unless
	default:
		return fmt.Sprintf("is for %s and not for %q: %s", strings.Join(printable.Quoted(cert.ValidPrincipals), ", "), user, unless)
	}
}

// knownOptions are the critical options that OpenSSH knows. It refuses a certificate
// with any other.
var knownOptions = []string{sourceAddress, "force-command", "verify-required"}

const sourceAddress = "source-address"

// optionFlaw names a critical option that OpenSSH refuses, or is "".
func optionFlaw(cert *ssh.Certificate) string {
	for _, name := range slices.Sorted(maps.Keys(cert.CriticalOptions)) {
		if !slices.Contains(knownOptions, name) {
			return fmt.Sprintf("has the critical option %q: a bastion that does not know it refuses the certificate, as OpenSSH does", printable.Text(name))
		}
	}
	return ""
}

// certificateFlaw says why a bastion may refuse a certificate, or "". What helps
// against that is in fix, where it is not obvious.
func certificateFlaw(cert *ssh.Certificate, user string) (flaw, fix string) {
	if flaw := optionFlaw(cert); flaw != "" {
		return flaw, "sign the certificate without that critical option"
	}
	if flaw := principalFlaw(cert, user); flaw != "" {
		return flaw, fmt.Sprintf("sign the certificate for this user (ssh-keygen -s <authority> -n %s …), or log in as a user that it is for", printable.Text(user))
	}
	if from, ok := cert.CriticalOptions[sourceAddress]; ok {
		return fmt.Sprintf("is for connections from %q alone (source-address), as the bastion sees them", printable.Text(from)),
			"connect from an address that the certificate's source-address lists, or sign it for this one: ssh-keygen -O source-address=<address>; the bastion's log shows the address that it sees"
	}
	return "", ""
}

// forwardingFlaw says why a certificate that lets in is of no use, or "".
func forwardingFlaw(cert *ssh.Certificate) string {
	if _, ok := cert.Extensions["permit-port-forwarding"]; ok {
		return ""
	}
	return "lacks the extension permit-port-forwarding: it lets in, but every channel is refused; sign it with that extension"
}

// Successor returns the certificate that is now in the file of one in use, if it is another
// that may be accepted; else nil. from is when it begins to be valid, if that is later.
func (cfg *Config) Successor(used Certificate) (cert *ssh.Certificate, from time.Time) {
	cert, err := cfg.reload(used)
	if err != nil || algorithms.SameKey(cert, used.Certificate) {
		return nil, time.Time{} // being written, perhaps
	}
	if err := algorithms.CheckValidity(cert); err != nil {
		return nil, algorithms.ValidFrom(cert)
	}
	if !algorithms.SameKey(cert.Key, used.Key) && !cfg.namesKey(cert.Key) {
		return nil, time.Time{} // its private key is yet to come
	}
	return cert, time.Time{}
}

// reload reads a certificate again.
func (cfg *Config) reload(used Certificate) (*ssh.Certificate, error) {
	if n := slices.Index(cfg.Certificates, used.raw); used.raw != "" && n >= 0 {
		cert, err := cfg.textCertificate(n)
		return cert.Certificate, err
	}
	return loadCertificate("certificate", used.Path)
}

// namesKey reports whether an identity is a key's.
func (cfg *Config) namesKey(key ssh.PublicKey) (named bool) {
	cfg.loadTexts(func(id identity, err error) {
		named = named || err == nil && algorithms.SameKey(id.public, key)
	})
	if named {
		return true
	}
	for _, file := range cfg.IdentityFiles {
		if id, err := cfg.loadIdentity(file); err == nil && algorithms.SameKey(id.public, key) {
			return true
		}
	}
	return false
}
