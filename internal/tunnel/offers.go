// offers.go decides which public keys are offered to the bastion, in which
// order: each one that is refused counts towards its MaxAuthTries.

package tunnel

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// maxUnnamed is how many keys are offered that the user did not name: the
// default files' and the agent's. Hardened bastions take four attempts in all.
const maxUnnamed = 3

// offer is a public key to authenticate with.
type offer struct {
	signer ssh.MultiAlgorithmSigner
	what   string     // as in `publickey SHA256:… (/home/u/.ssh/id_ed25519)`
	doubt  string     // why the bastion may refuse it, or ""
	cert   credential // zero for no certificate
}

// collector gathers the offers of one connect.
type collector struct {
	cfg  *Config
	log  *zap.Logger
	link *agentLink // nil for no agent

	offers  []offer
	skipped []string // what is not offered, and why
	seen    map[string]bool
	// waits tells that the agent may have a key later, with no file changed: it
	// is locked, empty, or does not answer.
	waits bool
	// scarce tells that something could not be read for want of files or memory.
	scarce bool
	// expired tells that a certificate has.
	expired bool
	unnamed int // offers of keys that the user did not name
	over    int // keys that maxUnnamed kept from being offered
}

// namedCert is a certificate that an option names.
type namedCert struct {
	*ssh.Certificate
	path string
	used bool
}

// collect reads the files and asks the agent, and returns what to offer: the
// files in their written order, a certificate before its bare key, then the
// agent's other keys.
func (c *collector) collect() {
	c.seen = map[string]bool{}
	ids := c.identities()
	certs := c.certificates()
	keys := c.agentKeys(ids, certs)

	for _, id := range ids {
		c.addIdentity(id, certs, keys)
	}
	for _, cert := range certs {
		if cert.used {
			continue
		}
		if signer := find(keys, cert.Key); signer != nil {
			c.addCert(cert.Certificate, signer, cert.path, true)
		} else {
			c.skip(fmt.Sprintf("certificate_file %q has its private key in no identity_file and not in the agent", cert.path))
		}
	}
	if !c.cfg.IdentitiesOnly {
		for _, k := range keys {
			c.add(k.public, k.signer, k.source(), false)
		}
	}
	if c.over > 0 {
		c.skip(fmt.Sprintf("%d more keys, since at most %d are offered that no identity_file names", c.over, maxUnnamed))
	}
}

// identities reads the identity files. Those that cannot be used are left out.
func (c *collector) identities() []identity {
	var ids []identity
	for _, file := range c.cfg.IdentityFiles {
		id, err := c.cfg.loadIdentity(file)
		switch {
		case err == nil, errors.Is(err, errNeedsPassphrase) && id.public != nil && c.link != nil:
		case file.Default && errors.Is(err, fs.ErrNotExist):
			continue
		default:
			c.unusable(err)
			if !file.Default {
				c.log.Warn("identity file is not usable", zap.Error(err))
			}
			continue
		}
		cert, err := loadCertificate("certificate beside the identity_file", file.certPath())
		if err == nil {
			id.cert = cert
		} else if !errors.Is(err, fs.ErrNotExist) {
			c.warnCert(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// certificates reads the certificate files.
func (c *collector) certificates() []*namedCert {
	var certs []*namedCert
	for _, path := range c.cfg.CertificateFiles {
		cert, err := loadCertificate("certificate_file", path)
		if err != nil {
			c.warnCert(err)
			continue
		}
		certs = append(certs, &namedCert{Certificate: cert, path: path})
	}
	return certs
}

// agentKeys asks the agent for its keys, if any of them would be of use.
func (c *collector) agentKeys(ids []identity, certs []*namedCert) []agentKey {
	if c.link == nil {
		return nil
	}
	needed := !c.cfg.IdentitiesOnly
	for _, id := range ids {
		needed = needed || id.signer == nil
	}
	for _, cert := range certs {
		needed = needed || !slices.ContainsFunc(ids, func(id identity) bool {
			return id.signer != nil && sameKey(id.public, cert.Key)
		})
	}
	if !needed {
		return nil
	}
	keys, err := c.link.keys()
	c.waits = errors.Is(err, errAgentSilent) || err == nil && len(keys) == 0
	if err != nil {
		c.log.Warn("agent is not usable", zap.Error(err))
		c.unusable(err)
	} else if len(keys) == 0 {
		c.skip(fmt.Sprintf("agent at %q has no key, or is locked (see ssh-add -l and ssh-add -X)", c.link.path))
	}
	slices.SortStableFunc(keys, func(a, b agentKey) int { return cmp.Compare(b.rank(), a.rank()) })
	return keys
}

func (c *collector) addIdentity(id identity, certs []*namedCert, keys []agentKey) {
	signer, source := id.signer, id.Path
	if signer == nil {
		signer, source = find(keys, id.public), id.Path+", signed by the agent"
	}
	found := signer != nil
	if signer != nil && id.cert != nil {
		c.addCert(id.cert, signer, id.certPath(), !id.Default)
	}
	for _, cert := range certs {
		if signer != nil && sameKey(cert.Key, id.public) {
			cert.used = true
			c.addCert(cert.Certificate, signer, cert.path, true)
		}
	}
	for _, k := range keys {
		if cert, ok := k.public.(*ssh.Certificate); ok && sameKey(cert.Key, id.public) {
			found = true
			c.add(cert, k.signer, k.source(), !id.Default)
		}
	}
	switch {
	case !found && !id.Default && isTokenKey(id.public):
		c.skip(fmt.Sprintf("identity_file %q is a key on a security token, which only an agent can sign with, and no agent holds it; add it to one with ssh-add", id.Path))
	case !found && !id.Default:
		c.skip(fmt.Sprintf("identity_file %q has no usable private half, and the agent does not hold it", id.Path))
	case id.Default && len(c.cfg.CertificateFiles) > 0:
		// Only the written certificate is offered; the default file was read for
		// its private key.
	case signer != nil:
		c.add(id.public, signer, source, !id.Default)
	}
}

// addCert offers a certificate for the key that signer has.
func (c *collector) addCert(cert *ssh.Certificate, signer ssh.AlgorithmSigner, path string, named bool) {
	if !sameKey(cert.Key, signer.PublicKey()) {
		c.warnCert(fmt.Errorf("certificate %q is for another key than the file beside it", path))
		return
	}
	s, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		c.warnCert(fmt.Errorf("certificate %q: %w", path, err))
		return
	}
	n := len(c.offers)
	c.add(cert, s.(ssh.AlgorithmSigner), path, named) //nolint:forcetypeassert // documented: an AlgorithmSigner gives one
	if len(c.offers) > n {
		c.offers[n].cert.path = path
	}
}

// add offers a key unless it was offered already, cannot be used, or is one
// too many that the user did not name.
func (c *collector) add(public ssh.PublicKey, signer ssh.AlgorithmSigner, source string, named bool) {
	blob := string(public.Marshal())
	if c.seen[blob] {
		return
	}
	c.seen[blob] = true
	what := "publickey " + describeKey(public) + " (" + source + ")"
	if cert, ok := public.(*ssh.Certificate); ok {
		err := checkValidity(cert)
		if end := expiryOf(cert); !end.IsZero() && !time.Now().Before(end) {
			c.expired = true
		}
		if err == nil && cert.CertType != ssh.UserCert {
			err = errors.New("is not a user certificate")
		}
		if err != nil {
			c.warnCert(fmt.Errorf("%s (%s) %w", describeKey(public), source, err))
			return
		}
	}
	if err := c.cfg.checkSize(public); err != nil {
		c.skip(fmt.Sprintf("%s: %v", what, err))
		return
	}
	algos := c.accepted(public)
	if len(algos) == 0 {
		c.skip(what + ": its algorithm is not among pubkey_accepted_algorithms")
		return
	}
	restricted, err := ssh.NewSignerWithAlgorithms(signer, algos)
	if err != nil {
		c.skip(fmt.Sprintf("%s: %v", what, err))
		return
	}
	if !named {
		if c.unnamed == maxUnnamed {
			c.over++
			return
		}
		c.unnamed++
	}
	o := offer{signer: restricted, what: what}
	if cert, ok := public.(*ssh.Certificate); ok {
		o.cert.Certificate = cert
		if flaw := principalFlaw(cert, c.cfg.User); flaw != "" {
			o.doubt = ", which " + flaw
		}
	}
	c.offers = append(c.offers, o)
}

// accepted returns the algorithms that a key may sign with.
func (c *collector) accepted(public ssh.PublicKey) []string {
	list := c.cfg.pubkeyOption().names()
	_, isCert := public.(*ssh.Certificate)
	return slices.DeleteFunc(signatureAlgorithms(plainKey(public).Type()), func(algo string) bool {
		if isCert {
			algo = certAlgorithm(algo)
		}
		return !slices.Contains(list, algo)
	})
}

// unusable is skip for a file or an agent that could not be read.
func (c *collector) unusable(err error) {
	c.scarce = c.scarce || scarce(err)
	c.skip(err.Error())
}

func (c *collector) skip(why string) { c.skipped = append(c.skipped, why) }

// warnCert tells of a certificate that is passed over: its bare key may still
// be offered, so nothing else would say why access is refused.
func (c *collector) warnCert(err error) {
	c.log.Warn("certificate is not usable", zap.Error(err))
	c.unusable(err)
}

// rank puts certificates before bare keys.
func (k agentKey) rank() int {
	if _, ok := k.public.(*ssh.Certificate); ok {
		return 1
	}
	return 0
}

func (k agentKey) source() string {
	if k.comment == "" {
		return "agent"
	}
	return fmt.Sprintf("agent, %q", printable(k.comment))
}

// find returns the agent's signer for a plain key, or nil.
func find(keys []agentKey, key ssh.PublicKey) ssh.AlgorithmSigner {
	for _, k := range keys {
		if sameKey(k.public, key) {
			return k.signer
		}
	}
	return nil
}

func sameKey(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// describeKey names a key: `SHA256:…`, or `certificate "key id" SHA256:…`.
func describeKey(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		return fmt.Sprintf("certificate %q %s", printable(cert.KeyId), ssh.FingerprintSHA256(cert.Key))
	}
	return ssh.FingerprintSHA256(key)
}
