// certificate.go verifies a server's host certificate as strictly as OpenSSH:
// x/crypto/ssh alone takes one without principals for any host, and one signed
// with SHA-1.

package hostkey

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// checkCertificate refuses a certificate that does not prove the server's
// name. That neither key is revoked was checked before. Until its signature is
// verified, which comes last, anybody may have written it, and what errors quote.
func (v *Verifier) checkCertificate(cert *ssh.Certificate) error {
	if cert.CertType != ssh.HostCert {
		return errors.New("is not a host certificate")
	}
	if _, ok := has(v.known.authorities, cert.SignatureKey); !ok {
		return fmt.Errorf("is signed by %s, which is none of its authorities: %s; add host_certificate_authority if it should be",
			ssh.FingerprintSHA256(cert.SignatureKey), authorityNames(v.known.authorities))
	}
	if err := v.cfg.CheckSize(cert.SignatureKey); err != nil {
		return fmt.Errorf("is signed with a weak key: %w", err)
	}
	if algo := cert.Signature.Format; !slices.Contains(v.cfg.CASignatureOption().Names(), algo) {
		return fmt.Errorf("is signed with %q, which is not among ca_signature_algorithms; sign it anew with ssh-keygen -t rsa-sha2-512 -s, or add it there", printable.Text(algo))
	}
	if err := algorithms.CheckValidity(cert); err != nil {
		return err
	}
	principal, ok := v.principal(cert)
	if !ok {
		return fmt.Errorf("is for %s, not for %q; sign it for that name, or set host_key_alias",
			principalNames(cert.ValidPrincipals), v.names.host)
	}
	// What is left: critical options, of which host certificates have none, and
	// the signature.
	if err := new(ssh.CertChecker).CheckCert(principal, cert); err != nil {
		return fmt.Errorf("is not valid: %s", printable.Text(strings.TrimPrefix(err.Error(), "ssh: ")))
	}
	return nil
}

// principal returns the certificate's principal that is, or as a pattern
// matches, the server's name. It decides as ssh since OpenSSH 10.3: each principal
// of a host certificate is one pattern, with * and ?, and neither a list nor a
// negation. Those of a user's certificate are no patterns.
func (v *Verifier) principal(cert *ssh.Certificate) (string, bool) {
	for _, p := range cert.ValidPrincipals {
		if sshsyntax.Match(p, v.names.host) {
			return p, true
		}
	}
	return "", false
}

func principalNames(principals []string) string {
	if len(principals) == 0 {
		return "no name at all"
	}
	return strings.Join(printable.Quoted(principals), ", ")
}

func authorityNames(keys []knownKey) string {
	if len(keys) == 0 {
		return "none is known"
	}
	var names []string
	for _, k := range keys {
		names = append(names, ssh.FingerprintSHA256(k.PublicKey)+" ("+k.source+")")
	}
	return strings.Join(names, ", ")
}

// loadAuthorities returns the keys of a host_certificate_authority, which is a
// key or the path of a file of such keys.
func loadAuthorities(s string) ([]knownKey, error) {
	const option = "host_certificate_authority"
	if !isAuthorityPath(s) {
		key, err := parseAuthority(s)
		if err != nil {
			return nil, fmt.Errorf("%s %s %w", option, redact.Quote(s), err)
		}
		return []knownKey{{key, option}}, nil
	}
	data, err := readfile.Read(option, s)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeyLines(option, s, data, parseAuthority)
	if err == nil && len(keys) == 0 {
		err = readfile.Error(option, s, errors.New("has no key"))
	}
	return keys, err
}

func parseAuthority(s string) (ssh.PublicKey, error) {
	key, err := parsePublicKey(s)
	if err != nil {
		return nil, err
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return nil, errors.New("is a certificate, not an authority's key")
	}
	return key, nil
}

// isAuthorityPath tells a path from a key, which has its type in front.
func isAuthorityPath(s string) bool {
	kind, _, ok := strings.Cut(strings.TrimSpace(s), " ")
	return !ok || !slices.ContainsFunc([]string{"ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"}, func(prefix string) bool {
		return strings.HasPrefix(kind, prefix)
	})
}
