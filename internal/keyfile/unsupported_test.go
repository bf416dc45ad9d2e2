//go:build linux

package keyfile

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestUnsupported: what is of no use is named.
func TestUnsupported(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen", "openssl")
	keys := sources(t)
	another := ", which is not supported; " + anotherKey
	for _, c := range []struct{ name, make, says string }{
		{"empty", "touch key", "is empty; copy the private key into it"},
		{"a line break", "echo > key", "is empty; copy the private key into it"},
		{"a BOM", `printf '\357\273\277\r\n' > key`, "is empty; copy the private key into it"},
		{"zeros", "head -c 400 /dev/zero > key", "has only zero bytes, as after a crash; copy the private key into it again"},
		{"no last line", "grep -v END a > key", "is incomplete: the last line of the private key, the one with END, is missing; copy the whole file again"},
		{"truncated", "head -3 rsa8 > key", "is incomplete: the last line of the private key, the one with END, is missing; copy the whole file again"},
		{"no first line", "grep -v BEGIN a > key", "is incomplete: the first line of the private key, the one with BEGIN, is missing; copy the whole file again"},
		{"no first or last line", "grep -v -e -- a > key", "is incomplete: the first and last line of the key, with BEGIN and END, are missing; copy the whole file again"},
		{"PEM without first or last line", "grep -v -e -- rsa8 > key", "is incomplete: the first and last line of the key, with BEGIN and END, are missing; copy the whole file again"},
		{"a line is missing", "sed 3d a > key", "is damaged or incomplete; copy the whole file again"},
		{"a line of PEM is missing", "sed 3d rsa8 > key", "is damaged or incomplete ("},
		{"bad base64", "sed '2s/^..../§§§§/' a > key", "is damaged or incomplete; copy the whole file again"},
		{"certificate alone", "openssl req -x509 -subj /CN=x -key rsa8 -out key", "has a certificate of TLS and no private key; write the path of the private key"},
		{"certificate in DER", "openssl req -x509 -subj /CN=x -key rsa8 -outform DER -out key", "is a certificate or public key in DER form; write the path of the private key"},
		{"public DSA key", "ssh-keygen -q -t dsa -N '' -f d && mv d.pub key", "has a key of type ssh-dss" + another},
		{"public key cut short", "cut -c-50 a.pub > key", "is a public key that is damaged or incomplete; copy the whole line again"},
		{"four hyphens", "sed 's/-----/----/g' a > key", "is damaged: the first and last line of a private key begin and end with five hyphens, and are in capital letters; copy the whole file again"},
		{"dashes", "sed 's/-----/—–/g' a > key", "is damaged: the first and last line of a private key begin"},
		{"small letters", "sed '/-----/s/.*/\\L&/' a > key", "is damaged: the first and last line of a private key begin"},
		{"text", "echo hello > key", "is not a private key in OpenSSH or PEM form; write the path of the file that ssh-keygen -y -f reads"},
		{"HTML", "echo '<!DOCTYPE html><html>' > key", "is a web page or XML; download the key itself"},
		{"PGP", "(printf -- '-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQ==\n=aaaa\n-----END PGP PRIVATE KEY BLOCK-----\n') > key", "is a PGP key or message, which SSH does not use; " + anotherKey},
		{"DSA", "openssl dsaparam -genkey -noout -out key 1024 2>&1", "has a key of type DSA" + another},
		{"DSA in OpenSSH's form", "ssh-keygen -q -t dsa -N '' -f key", "has a key of type ssh-dss" + another},
		{"encrypted DSA", "ssh-keygen -q -t dsa -a 1 -N horse -f key", "has a key of type ssh-dss" + another},
		{"DSA in PKCS#8", "openssl dsaparam -out p 1024 2>&1 && openssl genpkey -paramfile p -out key", "has a key of type DSA" + another},
		{"Ed448", "openssl genpkey -algorithm ed448 -out key", "has a key of type Ed448" + another},
		{"encrypted Ed448", "openssl genpkey -algorithm ed448 -aes256 -pass pass:horse -out key", "has a key of type Ed448" + another},
		{"X25519", "openssl genpkey -algorithm x25519 -out key", "has a key of type X25519" + another},
		{"RSA-PSS", "openssl genpkey -algorithm rsa-pss -out key 2>&1", "has a key of type RSA-PSS" + another},
		{"secp256k1", "openssl ecparam -name secp256k1 -genkey -out key", "has a key of type ECDSA on the curve secp256k1" + another},
		{"secp256k1 in PKCS#8", "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:secp256k1 -out key", "has a key of type ECDSA on the curve secp256k1" + another},
		{"brainpool", "openssl ecparam -name brainpoolP256r1 -genkey -noout -out key", "has a key of type ECDSA on the curve brainpoolP256r1" + another},
		{"brainpool in PKCS#8", "openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:brainpoolP384r1 -out key", "has a key of type ECDSA on the curve brainpoolP384r1" + another},
		{"P-224", "openssl ecparam -name secp224r1 -genkey -noout -out key", "has a key of type ECDSA on the curve P-224" + another},
		{"P-192", "openssl ecparam -name prime192v1 -genkey -noout -out key", "has a key of type ECDSA on the curve P-192" + another},
		{"explicit secp256k1", "openssl ecparam -name secp256k1 -param_enc explicit -genkey -noout -out key", "has a key of type ECDSA on a curve that SSH does not have" + another},
		{"another curve", "openssl ecparam -name sect233r1 -genkey -noout -out key", "has a key of type ECDSA on a curve that SSH does not have" + another},
		{"explicit binary curve", "openssl ecparam -name sect233r1 -param_enc explicit -genkey -noout -out key", "has a key of type ECDSA on a curve that SSH does not have" + another},
		{"explicit binary curve in PKCS#8", "openssl ecparam -name sect233r1 -param_enc explicit -genkey -noout -out b && openssl pkcs8 -topk8 -nocrypt -in b -out key", "has a key of type ECDSA on a curve that SSH does not have" + another},
		{"SM2", "openssl ecparam -name SM2 -genkey -noout -out key", "has a key of type SM2" + another},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shell(t, dir, "cp "+keys+"/* .; "+c.make)
			path := filepath.Join(dir, "key")
			data := read(t, path)
			_, err := Parse(data, "horse")
			if err == nil {
				t.Fatal("it is read")
			}
			if text := Explain(path, data, err).Error(); !strings.HasPrefix(text, c.says) {
				t.Errorf("got %q, want %q", text, c.says)
			}
			if bySSH(t, path, "horse") != nil && !strings.Contains(c.name, "DSA") {
				t.Error("ssh-keygen reads it")
			}
		})
	}
}

// TestExplainPublic: what stands in the place of a certificate is named.
func TestExplainPublic(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen", "openssl", "iconv")
	keys := sources(t)
	for _, c := range []struct{ name, make, says string }{
		{"private key", "cp a key", "is a private key; write the path of its certificate, which ssh-keygen -s writes to a file that ends in -cert.pub"},
		{"TLS", "openssl req -x509 -subj /CN=x -key rsa8 -out key", "is a certificate of TLS, which SSH does not use; sign the public key with ssh-keygen -s"},
		{"empty", "touch key", "is empty; copy the certificate into it again"},
		{"text", "echo hello > key", "is not an OpenSSH certificate"},
		{"BOM", `ssh-keygen -q -s a -I id -n u a.pub && (printf '\357\273\277'; cat a-cert.pub) > key`, "is a certificate behind a byte order mark; run "},
		{"UTF-16", "ssh-keygen -q -s a -I id -n u a.pub && iconv -t UTF-16 a-cert.pub > key", "is a certificate in UTF-16; run "},
		{"base64", "ssh-keygen -q -s a -I id -n u a.pub && base64 a-cert.pub > key", "is a certificate in base64 a second time; run "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shell(t, dir, "cp "+keys+"/* .; "+c.make)
			path := filepath.Join(dir, "key")
			text := ExplainPublic(path, read(t, path)).Error()
			if !strings.HasPrefix(text, c.says) {
				t.Fatalf("got %q, want %q", text, c.says)
			}
			m := command.FindStringSubmatch(text)
			if m == nil {
				return
			}
			shell(t, "/", m[1])
			if key, _, _, _, err := ssh.ParseAuthorizedKey(read(t, path)); err != nil || key.Type() != ssh.CertAlgoED25519v01 {
				t.Errorf("%v, %v", key, err)
			}
		})
	}
}
