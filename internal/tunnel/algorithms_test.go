package tunnel

import (
	"math"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestDefaultAlgorithms(t *testing.T) {
	cfg := &Config{}
	crypto := cfg.cryptoConfig()
	if crypto.RekeyThreshold != math.MaxInt64 {
		t.Errorf("rekey threshold %d", crypto.RekeyThreshold)
	}
	if c := crypto.Ciphers; !strings.Contains(c[0], "gcm") || !strings.Contains(c[1], "gcm") || !strings.HasPrefix(c[len(c)-1], "chacha20") {
		t.Errorf("ciphers %q", c)
	}
	if crypto.KeyExchanges[0] != ssh.KeyExchangeMLKEM768X25519 {
		t.Errorf("key exchanges %q", crypto.KeyExchanges)
	}
	hostKeys := cfg.hostKeyOption().names()
	if hostKeys[0] != ssh.CertAlgoED25519v01 && hostKeys[0] != ssh.KeyAlgoED25519 {
		t.Errorf("host key algorithms %q", hostKeys)
	}
	all := slices.Concat(crypto.Ciphers, crypto.KeyExchanges, crypto.MACs, hostKeys,
		cfg.pubkeyOption().names(), cfg.caSignatureOption().names())
	for _, name := range all {
		if strings.Contains(name, "sha1") || strings.HasPrefix(name, "ssh-rsa") || strings.HasPrefix(name, "ssh-dss") || strings.Contains(name, "cbc") {
			t.Errorf("%q is a default", name)
		}
	}
	for _, name := range []string{ssh.CertAlgoED25519v01, ssh.CertAlgoSKED25519v01, ssh.CertAlgoSKECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoECDSA256v01} {
		if !slices.Contains(cfg.pubkeyOption().names(), name) {
			t.Errorf("%q is not accepted of our own keys", name)
		}
	}
}

// TestAlgorithmsNegotiate: x/crypto/ssh takes every name that Check lets pass.
func TestAlgorithmsNegotiate(t *testing.T) {
	cfg := &Config{}
	for _, o := range []algorithmOption{cfg.kexOption(), cfg.cipherOption(), cfg.macOption()} {
		for _, name := range slices.Concat(o.supported, o.insecure) {
			c := ssh.Config{}
			var got *[]string
			switch o.name {
			case "kex_algorithms":
				c.KeyExchanges, got = []string{name}, &c.KeyExchanges
			case "ciphers":
				c.Ciphers, got = []string{name}, &c.Ciphers
			case "macs":
				c.MACs, got = []string{name}, &c.MACs
			}
			c.SetDefaults()
			if !slices.Contains(*got, name) {
				t.Errorf("%s: %q is not known to x/crypto/ssh: %q", o.name, name, *got)
			}
		}
	}
}

func TestAlgorithmOptionCheck(t *testing.T) {
	warnings, err := (&Config{MACs: []string{"hmac-sha2-256", "hmac-sha1"}}).macOption().check()
	wantError(t, err, "")
	if want := []string{`macs: "hmac-sha1" is insecure; take it out once the bastion can do better`}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q", warnings)
	}
	_, err = (&Config{Ciphers: []string{"aes128-gcm"}}).cipherOption().check()
	wantError(t, err, `ciphers: unknown algorithm "aes128-gcm"; supported: aes128-gcm@openssh.com, aes256-gcm@openssh.com, aes128-ctr, aes192-ctr, aes256-ctr, chacha20-poly1305@openssh.com`)
}

func TestCheckSize(t *testing.T) {
	short, enough := publicOf(t, rsaKey(t, 1024)), publicOf(t, rsaKey(t, 2048))
	cert := certify(t, ssh.HostCert, short, signerFor(t, edKey(1)), nil)
	cfg := &Config{}
	wantError(t, cfg.checkSize(short), "RSA key of 1024 bits is shorter than required_rsa_size 2048")
	wantError(t, cfg.checkSize(cert), "RSA key of 1024 bits is shorter than required_rsa_size 2048")
	wantError(t, cfg.checkSize(enough), "")
	wantError(t, cfg.checkSize(publicOf(t, edKey(1))), "")
	wantError(t, (&Config{RequiredRSASize: 1024}).checkSize(short), "")
	wantError(t, (&Config{RequiredRSASize: 3072}).checkSize(enough), "RSA key of 2048 bits is shorter than required_rsa_size 3072")
}
