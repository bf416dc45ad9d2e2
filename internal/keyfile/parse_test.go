//go:build unix

package keyfile

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestReadsWhatSSHReads compares with ssh-keygen -y.
func TestReadsWhatSSHReads(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen", "openssl")
	keys := sources(t)
	const self = "openssl req -x509 -subj /CN=x -key rsa8 -out cert && "
	for _, c := range []struct {
		name, make string // makes the file "key", with the passphrase "horse" if it is encrypted
		not        bool   // that ssh reads: OpenSSH 9.2 does not
	}{
		{name: "EC PARAMETERS first", make: "openssl ecparam -name prime256v1 -genkey -out key"},
		{name: "EC PARAMETERS of P-521", make: "openssl ecparam -name secp521r1 -genkey -out key"},
		{name: "explicit parameters", make: "openssl ecparam -name prime256v1 -genkey -param_enc explicit -out key"},
		{name: "explicit parameters, compressed", make: "openssl ecparam -name secp384r1 -genkey -param_enc explicit -conv_form compressed -out key"},
		{name: "explicit parameters, hybrid", make: "openssl ecparam -name secp521r1 -genkey -param_enc explicit -conv_form hybrid -out key"},
		{name: "explicit parameters, no seed", make: "openssl ecparam -name prime256v1 -genkey -param_enc explicit -no_seed -out key"},
		{name: "explicit parameters in PKCS#8", make: "openssl ecparam -name prime256v1 -genkey -param_enc explicit -out a && openssl pkcs8 -topk8 -nocrypt -in a -out key"},
		{name: "explicit parameters, encrypted", make: "openssl ecparam -name prime256v1 -genkey -param_enc explicit -out a && openssl ec -in a -aes128 -passout pass:horse -out key"},
		{name: "explicit parameters in encrypted PKCS#8", make: "openssl ecparam -name secp384r1 -genkey -param_enc explicit -out a && openssl pkcs8 -topk8 -passout pass:horse -in a -out key"},
		{name: "compressed point", make: "openssl ecparam -name prime256v1 -genkey -conv_form compressed -out key"},
		{name: "PKCS#8", make: "cp rsa8 key"},
		{name: "PKCS#8 of ssh-keygen", make: "ssh-keygen -q -t ecdsa -m PKCS8 -N '' -f key"},
		{name: "encrypted PKCS#8 of ssh-keygen", make: "ssh-keygen -q -t ecdsa -m PKCS8 -N horse -f key"},
		{name: "encrypted PKCS#8", make: "openssl pkcs8 -topk8 -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, AES-128", make: "openssl pkcs8 -topk8 -v2 aes-128-cbc -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, AES-192", make: "openssl pkcs8 -topk8 -v2 aes-192-cbc -v2prf hmacWithSHA512 -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, 3DES", make: "openssl pkcs8 -topk8 -v2 des3 -v2prf hmacWithSHA1 -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, scrypt", make: "openssl pkcs8 -topk8 -scrypt -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, many rounds", make: "openssl pkcs8 -topk8 -iter 100000 -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, SHA-512/224", make: "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512-224 -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, SHA-512/256", make: "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA512-256 -in rsa8 -passout pass:horse -out key"},
		{name: "encrypted PKCS#8, MD5", make: "openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithMD5 -in rsa8 -passout pass:horse -out key"},
		{name: "PKCS#12's 3DES", make: "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in rsa8 -passout pass:horse -out key"},
		{name: "PKCS#12's 3DES with two keys", make: "openssl pkcs8 -topk8 -v1 PBE-SHA1-2DES -in rsa8 -passout pass:horse -out key"},
		{name: "PKCS#12's 3DES of an EC key", make: "openssl ecparam -name prime256v1 -genkey -out a && openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -iter 3 -in a -passout pass:horse -out key"},
		{name: "Ed25519 in PKCS#8", make: "openssl genpkey -algorithm ed25519 -out key", not: true},
		{name: "encrypted PEM", make: "openssl rsa -in rsa8 -traditional -aes256 -passout pass:horse -out key"},
		{name: "encrypted PEM, 3DES", make: "openssl rsa -in rsa8 -traditional -des3 -passout pass:horse -out key"},
		{name: "certificate first", make: self + "cat cert rsa8 > key"},
		{name: "certificate last", make: self + "cat rsa8 cert > key"},
		{name: "certificates around", make: self + "openssl rsa -in rsa8 -traditional -out a && cat cert a cert cert > key"},
		{name: "certificate before OpenSSH's form", make: self + "ssh-keygen -q -t rsa -N '' -f a && cat cert a > key", not: true},
		{name: "pkcs12 -nodes", make: self + "openssl pkcs12 -export -inkey rsa8 -in cert -passout pass: -out p12 && openssl pkcs12 -in p12 -nodes -passin pass: -out key"},
		{name: "pkcs12 with a passphrase", make: self + "openssl pkcs12 -export -inkey rsa8 -in cert -passout pass: -out p12 && openssl pkcs12 -in p12 -passin pass: -passout pass:horse -out key"},
		{name: "pkcs12 -nodes of an EC key", make: "openssl ecparam -name prime256v1 -genkey -out a && openssl req -x509 -subj /CN=x -key a -out cert && openssl pkcs12 -export -inkey a -in cert -passout pass: -out p12 && openssl pkcs12 -in p12 -nodes -passin pass: -out key"},
		{name: "public key behind", make: "ssh-keygen -q -t ed25519 -N '' -f a && cat a a.pub > key"},
		{name: "public key before", make: "ssh-keygen -q -t ed25519 -N '' -f a && cat a.pub a > key", not: true},
		{name: "comment before", make: "(echo '# mine'; cat rsa8) > key"},
		{name: "BOM before PEM", make: `(printf '\357\273\277'; cat rsa8) > key`},
		{name: "BOM before OpenSSH's form", make: `ssh-keygen -q -t ed25519 -N '' -f a && (printf '\357\273\277'; cat a) > key`, not: true},
		{name: "CRLF", make: `sed 's/$/\r/' rsa8 > key`},
		{name: "spaces at the ends of lines", make: `sed 's/$/ /' rsa8 > key`},
		{name: "empty lines", make: `ssh-keygen -q -t ed25519 -N '' -f a && sed 's/$/\n/' a > key`},
		{name: "aes256-cbc", make: "ssh-keygen -q -t ed25519 -Z aes256-cbc -a 1 -N horse -f key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shell(t, dir, "cp "+keys+"/rsa8 .; "+c.make)
			path := filepath.Join(dir, "key")
			want := bySSH(t, path, "horse")
			if want == nil && !c.not {
				t.Error("ssh-keygen does not read it")
			}
			data := read(t, path)
			key, err := Parse(data, "horse")
			if err != nil {
				t.Fatal(Explain(path, data, err))
			}
			if want != nil && !bytes.Equal(want.Marshal(), key.PublicKey().Marshal()) {
				t.Error("it is another key than ssh-keygen reads")
			}
			if !Encrypted(data) {
				return
			}
			if _, err := Parse(data, "donkey"); err == nil || Explain(path, data, err).Error() != "cannot be decrypted: its passphrase is wrong" {
				t.Errorf("wrong passphrase: %v", err)
			}
			if _, err := Parse(data, ""); !errors.As(err, new(*ssh.PassphraseMissingError)) {
				t.Errorf("no passphrase: %v", err)
			}
		})
	}
}

// TestManyRounds: what takes longer to decrypt than x/crypto/ssh allows is not begun.
func TestManyRounds(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen")
	dir := t.TempDir()
	shell(t, dir, "ssh-keygen -q -t ed25519 -a 1 -N horse -f key")
	block, _ := pem.Decode(read(t, dir+"/key"))
	at := bytes.Index(block.Bytes, []byte("bcrypt")) + len("bcrypt") + 4 + 4 + 16 // the options, of which the salt is first
	binary.BigEndian.PutUint32(block.Bytes[at:], 3000)
	data := pem.EncodeToMemory(block)
	const want = "has 3000 KDF rounds, and at most 2048 are supported; run ssh-keygen -p -a 100 -f /k"
	if _, err := Parse(data, "horse"); err == nil || Explain("/k", data, err).Error() != want {
		t.Errorf("got %v", err)
	}
	if _, err := Parse(data, ""); !errors.As(err, new(*ssh.PassphraseMissingError)) || ExplainLocked("/k", data).Error() != want {
		t.Errorf("without a passphrase: %v", err)
	}
}
