// certoffers.go offers certificates, with the private keys that they are for.

package sshauth

import (
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
)

// namedCert is a certificate that an option names.
type namedCert struct {
	*ssh.Certificate
	path string // of its file, or ""
	// source is how errors and offers name it: its path, or the option.
	source string
	raw    string // of Config.Certificates, or ""
}

// certificates reads the certificates that options name.
func (c *collector) certificates() []namedCert {
	var certs []namedCert
	for _, path := range c.cfg.CertificateFiles {
		cert, err := loadCertificate("certificate_file", path)
		if err != nil {
			c.warnCert(err)
			continue
		}
		certs = append(certs, namedCert{cert, path, path, ""})
	}
	for n := range c.cfg.Certificates {
		cert, err := c.cfg.textCertificate(n)
		if err != nil {
			c.warnCert(err)
			continue
		}
		certs = append(certs, cert)
	}
	return certs
}

// addCertFiles offers the certificates that options name.
func (c *collector) addCertFiles(certs []namedCert, ids []identity, keys []agentKey) {
	for _, cert := range certs {
		signer := find(keys, cert.Key)
		for _, id := range ids {
			if id.signer != nil && algorithms.SameKey(id.public, cert.Key) {
				signer = id.signer
			}
		}
		if signer == nil {
			option := cert.source
			if cert.raw == "" {
				option = fmt.Sprintf("certificate_file %q", cert.path)
			}
			c.skip(option + " has its private key in no identity_file or identity, and not in the agent")
			continue
		}
		c.addCert(cert, signer, true)
	}
}

// addCert offers a certificate for the key that signer has.
func (c *collector) addCert(cert namedCert, signer ssh.AlgorithmSigner, named bool) {
	if !algorithms.SameKey(cert.Key, signer.PublicKey()) {
		c.warnCert(fmt.Errorf("certificate %q is for another key than the file beside it", cert.source))
		return
	}
	s, err := ssh.NewCertSigner(cert.Certificate, signer)
	if err != nil {
		c.warnCert(fmt.Errorf("certificate %q: %w", cert.source, err))
		return
	}
	n := len(c.offers)
	c.add(cert.Certificate, s.(ssh.AlgorithmSigner), cert.source, named) //nolint:forcetypeassert // documented: an AlgorithmSigner gives one
	if len(c.offers) > n {
		c.offers[n].cert = Certificate{Certificate: cert.Certificate, Path: cert.path, raw: cert.raw}
	}
}

// warnCert warns of a certificate that is ignored: its bare key may still
// be offered, so nothing else would say why access is refused.
func (c *collector) warnCert(err error) {
	c.badCert = true
	c.log.Warn("certificate is not usable", zap.Error(err))
	c.unusable(err)
}
