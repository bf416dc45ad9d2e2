package algorithms

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"math"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestDefaultAlgorithms(t *testing.T) {
	cfg := Lists{}
	crypto := cfg.CryptoConfig()
	if crypto.RekeyThreshold != math.MaxInt64 {
		t.Errorf("rekey threshold %d", crypto.RekeyThreshold)
	}
	if c := crypto.Ciphers; !strings.Contains(c[0], "gcm") || !strings.Contains(c[1], "gcm") || !strings.HasPrefix(c[len(c)-1], "chacha20") {
		t.Errorf("ciphers %q", c)
	}
	if crypto.KeyExchanges[0] != ssh.KeyExchangeMLKEM768X25519 {
		t.Errorf("key exchanges %q", crypto.KeyExchanges)
	}
	hostKeys := cfg.HostKeyOption().Names()
	if hostKeys[0] != ssh.CertAlgoED25519v01 && hostKeys[0] != ssh.KeyAlgoED25519 {
		t.Errorf("host key algorithms %q", hostKeys)
	}
	all := slices.Concat(crypto.Ciphers, crypto.KeyExchanges, crypto.MACs, hostKeys,
		cfg.PubkeyOption().Names(), cfg.CASignatureOption().Names())
	for _, name := range all {
		if strings.Contains(name, "sha1") || strings.HasPrefix(name, "ssh-rsa") || strings.HasPrefix(name, "ssh-dss") || strings.Contains(name, "cbc") {
			t.Errorf("%q is a default", name)
		}
	}
	for _, name := range []string{ssh.CertAlgoED25519v01, ssh.CertAlgoSKED25519v01, ssh.CertAlgoSKECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoECDSA256v01} {
		if !slices.Contains(cfg.PubkeyOption().Names(), name) {
			t.Errorf("%q is not accepted of our own keys", name)
		}
	}
}

// TestAlgorithmsNegotiate: x/crypto/ssh takes every name that Check lets pass.
func TestAlgorithmsNegotiate(t *testing.T) {
	cfg := Lists{}
	for _, o := range []Option{cfg.KexOption(), cfg.CipherOption(), cfg.MACOption()} {
		for _, name := range slices.Concat(o.Supported, o.Insecure) {
			c := ssh.Config{}
			var got *[]string
			switch o.Name {
			case "kex_algorithms":
				c.KeyExchanges, got = []string{name}, &c.KeyExchanges
			case "ciphers":
				c.Ciphers, got = []string{name}, &c.Ciphers
			case "macs":
				c.MACs, got = []string{name}, &c.MACs
			}
			c.SetDefaults()
			if !slices.Contains(*got, name) {
				t.Errorf("%s: %q is not known to x/crypto/ssh: %q", o.Name, name, *got)
			}
		}
	}
}

func TestAlgorithmOptionCheck(t *testing.T) {
	warnings, err := (Lists{MACs: []string{"hmac-sha2-256", "hmac-sha1"}}).MACOption().Check()
	wantError(t, err, "")
	if want := []string{`macs: "hmac-sha1" is insecure; take it out once the bastion can do better`}; !slices.Equal(warnings, want) {
		t.Errorf("warnings %q", warnings)
	}
	_, err = (Lists{Ciphers: []string{"aes128-gcm"}}).CipherOption().Check()
	wantError(t, err, `ciphers: unknown algorithm "aes128-gcm"; supported: aes128-gcm@openssh.com, aes256-gcm@openssh.com, aes128-ctr, aes192-ctr, aes256-ctr, chacha20-poly1305@openssh.com`)
}

func TestCheckSize(t *testing.T) {
	rsaKey := func(bits int) ssh.PublicKey {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return publicKey(t, &key.PublicKey)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, enough := rsaKey(1024), rsaKey(2048)
	l := Lists{}
	wantError(t, l.CheckSize(short), "RSA key of 1024 bits is shorter than required_rsa_size 2048")
	wantError(t, l.CheckSize(&ssh.Certificate{Key: short}), "RSA key of 1024 bits is shorter than required_rsa_size 2048")
	wantError(t, l.CheckSize(enough), "")
	wantError(t, l.CheckSize(publicKey(t, public)), "")
	wantError(t, Lists{RequiredRSASize: 1024}.CheckSize(short), "")
	wantError(t, Lists{RequiredRSASize: 3072}.CheckSize(enough), "RSA key of 2048 bits is shorter than required_rsa_size 3072")
}

func publicKey(t *testing.T, key any) ssh.PublicKey {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// wantError checks that err has the text, or is nil if that is "".
func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if text == "" && err != nil || text != "" && (err == nil || err.Error() != text) {
		t.Errorf("got error %v, want %q", err, text)
	}
}
