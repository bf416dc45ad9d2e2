package sshtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// tlscert.go issues TLS certificates.

// CA is a certificate authority that nobody trusts unless a test says so.
type CA struct {
	cert    *x509.Certificate
	private *ecdsa.PrivateKey
}

// NewCA returns a new authority.
func NewCA() *CA {
	template := certTemplate("sshtest CA")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	ca := new(CA)
	ca.cert, ca.private = issue(template, nil)
	return ca
}

// Issue returns a certificate for the hosts, names or IP addresses. It is good
// for a server and for a client.
func (ca *CA) Issue(hosts ...string) tls.Certificate {
	template := certTemplate(hosts[0])
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, private := issue(template, ca)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: private, Leaf: cert}
}

// Pool returns the pool that holds this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// PEM returns the authority's certificate, for a file of trusted ones.
func (ca *CA) PEM() []byte { return encodeCert(ca.cert.Raw) }

// EncodePEM returns a certificate that was issued by a CA, and its private
// key, as the contents of two files.
func EncodePEM(cert tls.Certificate) (certPEM, keyPEM []byte) {
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		panic(err) // the key is of the type that issue made
	}
	return encodeCert(cert.Certificate[0]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func certTemplate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err) // crypto/rand cannot fail
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}

// issue signs the template with a new key by ca, or by itself if ca is nil.
func issue(template *x509.Certificate, ca *CA) (*x509.Certificate, *ecdsa.PrivateKey) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // crypto/rand cannot fail
	}
	if ca == nil {
		ca = &CA{cert: template, private: private}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &private.PublicKey, ca.private)
	if err != nil {
		panic(err) // a host that is no name
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert, private
}
