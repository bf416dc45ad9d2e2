// certificate.go reads a user's certificates, and says what is wrong with them.

package tunnel

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

// credential is a certificate that a connection authenticates with.
type credential struct {
	*ssh.Certificate
	path string // "" for one that the agent holds
}

// UsedCertificate is a certificate that a connection was let in with.
type UsedCertificate struct {
	// KeyID is the name that its authority has given it.
	KeyID string `json:"key_id"`
	// Path is its file, or "" if the agent holds it.
	Path string `json:"path,omitempty"`
	// Expires is when it does, or nil for never.
	Expires *time.Time `json:"expires,omitempty"`
	// PermitsForwarding tells whether it has the extension
	// permit-port-forwarding. Without it, OpenSSH refuses every channel.
	PermitsForwarding bool `json:"permits_forwarding"`
}

func usedCertificates(certificates []credential) (used []UsedCertificate) {
	for _, c := range certificates {
		u := UsedCertificate{KeyID: printable.Text(c.KeyId), Path: c.path, PermitsForwarding: forwardingFlaw(c.Certificate) == ""}
		if end := algorithms.ValidUntil(c.Certificate); !end.IsZero() {
			u.Expires = &end
		}
		used = append(used, u)
	}
	return used
}

// loadCertificate reads a user's certificate.
func loadCertificate(option, path string) (*ssh.Certificate, error) {
	data, err := readfile.Read(option, path)
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil, readfile.Error(option, path, keyfile.ExplainPublic(path, data))
	}
	cert, ok := pub.(*ssh.Certificate)
	if !ok {
		return nil, readfile.Error(option, path, errors.New("is a public key, not a certificate"))
	}
	if cert.CertType != ssh.UserCert {
		return nil, readfile.Error(option, path, errors.New("is not a user certificate"))
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
