//go:build linux

package keyfile

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// fixes_test.go runs the commands that errors have, which are those of GNU.

// command is the command line in an error.
var command = regexp.MustCompile(`(?:; |, )run (.*?)(?:, and write the path of that file)?$`)

// TestFixes: the command in an error makes a key of the file that ours and
// ssh-keygen read, and that is the one it was.
func TestFixes(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen", "openssl", "iconv", "dropbearkey", "dropbearconvert")
	keys := sources(t)
	for _, c := range []struct {
		name, make, says string
		public           bool   // it is a public key
		answers          string // what stands in for a person at the command's prompts: s/…/…/
	}{
		{name: "UTF-16", make: "iconv -t UTF-16 a > key", says: "is a private key in UTF-16; run "},
		{name: "UTF-16 of Windows", make: `(printf '\377\376'; sed 's/$/\r/' a | iconv -t UTF-16LE) > key`, says: "is a private key in UTF-16; run "},
		{name: "UTF-16, big-endian", make: `(printf '\376\377'; iconv -t UTF-16BE a) > key`, says: "is a private key in UTF-16; run "},
		{name: "UTF-16 without a mark", make: "iconv -t UTF-16LE a > key", says: "is a private key in UTF-16 (little-endian); run "},
		{name: "UTF-16BE without a mark", make: "iconv -t UTF-16BE a > key", says: "is a private key in UTF-16 (big-endian); run "},
		{name: "on one line", make: `tr -d '\n' < a > key`, says: "is a private key on one line, or with other text in its first or last line; run "},
		{name: "on one line with spaces", make: `tr '\n' ' ' < a > key`, says: "is a private key on one line, or with other text in its first or last line; run "},
		{name: "PEM on one line with spaces", make: `tr '\n' ' ' < rsa8 > key`, says: "is a private key on one line, or with other text in its first or last line; run "},
		{name: "header in the same line", make: `sed '1{N;s/\n/ /}' a > key`, says: "is a private key on one line, or with other text in its first or last line; run "},
		{name: "literal \\n", make: `awk '{printf "%s\\n", $0}' a > key`, says: `is a private key with \n where its line breaks belong; run `},
		{name: "literal \\n in quotes", make: `(printf '"'; awk '{printf "%s\\n", $0}' a; printf '"') > key`, says: `is a private key with \n where its line breaks belong; run `},
		{name: "literal \\r\\n", make: `awk '{printf "%s\\r\\n", $0}' rsa8 > key`, says: `is a private key with \n where its line breaks belong; run `},
		{name: "JSON", make: `(printf '{"type": "ssh", "private_key": "'; awk '{printf "%s\\n", $0}' a; printf '", "id": 1}\n') > key`, says: `is a private key with \n where its line breaks belong; run `},
		{name: "environment file", make: `(printf 'SSH_KEY="'; awk '{printf "%s\\n", $0}' rsa8; printf '"\nPORT=22\n') > key`, says: `is a private key with \n where its line breaks belong; run `},
		{name: "environment file of several lines", make: `(printf 'SSH_KEY="'; cat a; printf '"\nPORT=22\n') > key`, says: "is a private key on one line, or with other text in its first or last line; run "},
		{name: "YAML on one line", make: `(printf 'key: '; tr '\n' ' ' < a) > key`, says: "is a private key on one line, or with other text in its first or last line; run "},
		{name: "base64", make: "base64 a > key", says: "is a private key in base64 a second time; run "},
		{name: "base64 on one line", make: "base64 -w0 rsa8 > key", says: "is a private key in base64 a second time; run "},
		{name: "indented", make: `sed 's/^/    /' a > key`, says: "is a private key whose lines are indented or quoted; run "},
		{name: "indented by tabs", make: `sed 's/^/\t\t/' rsa8 > key`, says: "is a private key whose lines are indented or quoted; run "},
		{name: "quoted as a mail", make: `sed 's/^/> /' a > key`, says: "is a private key whose lines are indented or quoted; run "},
		{name: "YAML", make: `(echo 'key: |'; sed 's/^/  /' a) > key`, says: "is a private key whose lines are indented or quoted; run "},
		{name: "quoted", make: `(printf '"'; cat a; printf '"') > key`, says: "is a private key in quotes; run "},
		{name: "quoted once", make: `(printf "'"; cat rsa8; printf "'") > key`, says: "is a private key in quotes; run "},
		{name: "CR only", make: `tr '\n' '\r' < a > key`, says: "is a private key whose lines end in a carriage return alone; run "},
		{name: "UTF-16 public key", make: "iconv -t UTF-16 a.pub > key", says: "is a public key in UTF-16; run ", public: true},
		{name: "public key with BOM", make: `(printf '\357\273\277'; cat a.pub) > key`, says: "is a public key behind a byte order mark; run ", public: true},
		{name: "DER", make: "openssl pkey -in rsa8 -outform DER -out key", says: "is a private key in DER form; run "},
		{name: "DER of PKCS#1", make: "openssl rsa -in rsa8 -traditional -outform DER -out key", says: "is a private key in DER form; run "},
		{name: "DER of an EC key", make: "openssl ecparam -name prime256v1 -genkey -noout -outform DER -out key", says: "is a private key in DER form; run "},
		{name: "encrypted DER", make: "openssl pkcs8 -topk8 -outform DER -in rsa8 -passout pass:horse -out key", says: "is an encrypted private key in DER form; run ", answers: "-aes256/-aes256 -passin pass:horse -passout pass:horse"},
		{name: "encrypted DER, PBES1", make: "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -outform DER -in rsa8 -passout pass:horse -out key", says: "is an encrypted private key in DER form; run ", answers: "-aes256/-aes256 -passin pass:horse -passout pass:horse"},
		{name: "PKCS#12", make: "openssl req -x509 -subj /CN=x -key rsa8 -out cert && openssl pkcs12 -export -inkey rsa8 -in cert -passout pass:horse -out key", says: "is a PKCS#12 file (.p12, .pfx); run ", answers: "-nodes/-nodes -passin pass:horse"},
		{name: "encrypted PKCS#8, DES", make: "openssl pkcs8 -provider legacy -provider default -topk8 -v1 PBE-MD5-DES -in rsa8 -passout pass:horse -out key", says: "is encrypted in an old way that is not supported; run openssl ", answers: "-aes256/-aes256 -passin pass:horse -passout pass:horse"},
		{name: "encrypted PKCS#8, RC2", make: "openssl pkcs8 -provider legacy -provider default -topk8 -v1 PBE-SHA1-RC2-40 -in rsa8 -passout pass:horse -out key", says: "is encrypted in an old way that is not supported; run openssl ", answers: "-aes256/-aes256 -passin pass:horse -passout pass:horse"},
		{name: "encrypted PKCS#8 in DER, RC4", make: "openssl pkcs8 -provider legacy -provider default -topk8 -v1 PBE-SHA1-RC4-128 -outform DER -in rsa8 -passout pass:horse -out key", says: "is an encrypted private key in DER form; run openssl ", answers: "-aes256/-aes256 -passin pass:horse -passout pass:horse"},
		{name: "encrypted PKCS#8, Camellia", make: "openssl pkcs8 -topk8 -v2 camellia-256-cbc -in rsa8 -passout pass:horse -out key", says: "is encrypted in a way that is not supported; run ", answers: "-p/-p -P horse -N horse"},
		{name: "encrypted PEM, Camellia", make: "openssl rsa -in rsa8 -traditional -camellia128 -passout pass:horse -out key", says: "is encrypted in a way that is not supported; run ", answers: "-p/-p -P horse -N horse"},
		{name: "encrypted PEM, counter mode", make: "openssl rsa -in rsa8 -traditional -aes-256-ctr -passout pass:horse -out key", says: "is encrypted in a way that is not supported; run ", answers: "-p/-p -P horse -N horse"},
		{name: "PKCS#12 of older programs", make: "openssl req -x509 -subj /CN=x -key rsa8 -out cert && openssl pkcs12 -legacy -export -inkey rsa8 -in cert -passout pass:horse -out key", says: "is a PKCS#12 file (.p12, .pfx); run ", answers: "-nodes/-nodes -passin pass:horse"},
		{name: "Dropbear", make: "dropbearkey -t ed25519 -f key", says: "is a key of Dropbear; run "},
		{name: "Dropbear, RSA", make: "dropbearkey -t rsa -f key", says: "is a key of Dropbear; run "},
		{name: "Dropbear, ECDSA", make: "dropbearkey -t ecdsa -f key", says: "is a key of Dropbear; run "},
		{name: "aes128-ctr", make: "ssh-keygen -q -t ed25519 -a 1 -Z aes128-ctr -N horse -f key", says: "is encrypted with aes128-ctr, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "aes192-cbc", make: "ssh-keygen -q -t ed25519 -a 1 -Z aes192-cbc -N horse -f key", says: "is encrypted with aes192-cbc, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "aes256-gcm", make: "ssh-keygen -q -t ed25519 -a 1 -Z aes256-gcm@openssh.com -N horse -f key", says: "is encrypted with aes256-gcm@openssh.com, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "chacha20-poly1305", make: "ssh-keygen -q -t ed25519 -a 1 -Z chacha20-poly1305@openssh.com -N horse -f key", says: "is encrypted with chacha20-poly1305@openssh.com, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "3des-cbc", make: "ssh-keygen -q -t ed25519 -a 1 -Z 3des-cbc -N horse -f key", says: "is encrypted with 3des-cbc, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "OpenSSH's form with another first line", make: `sed 's/ OPENSSH / /' a > key`, says: "is a private key whose first and last line are those of another form; run "},
		{name: "PKCS#8 as PKCS#1", make: `sed 's/ PRIVATE / RSA PRIVATE /' rsa8 > key`, says: "is a private key whose first and last line are those of another form; run "},
		{name: "PKCS#8 as an EC key", make: `openssl genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out b && sed 's/ PRIVATE / EC PRIVATE /' b > key`, says: "is a private key whose first and last line are those of another form; run "},
		{name: "PKCS#1 as PKCS#8", make: `openssl rsa -in rsa8 -traditional -out b && sed 's/ RSA / /' b > key`, says: "is a private key whose first and last line are those of another form; run "},
		{name: "EC key as PKCS#8", make: `openssl ecparam -name prime256v1 -genkey -noout -out b && sed 's/ EC / /' b > key`, says: "is a private key whose first and last line are those of another form; run "},
		{name: "RFC 4716", make: "ssh-keygen -e -f a.pub > key", says: "is a public key in the form of RFC 4716; run ", public: true},
		{name: "public PEM", make: "openssl pkey -in rsa8 -pubout -out key", says: "is a public key in PEM form; write the path of the private key or, with its key in the agent, run ", public: true},
		{name: "public PKCS#1", make: "openssl rsa -in rsa8 -RSAPublicKey_out -out key", says: "is a public key in PEM form; write the path of the private key or, with its key in the agent, run ", public: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "it's a dir")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			shell(t, dir, "cp "+keys+"/* .; "+c.make)
			path := filepath.Join(dir, "key")
			data := read(t, path)
			_, err := Parse(data, "horse")
			if err == nil {
				t.Fatal("it is read")
			}
			text := Explain(path, data, err).Error()
			if !strings.HasPrefix(text, c.says) {
				t.Fatalf("got %q, want %q", text, c.says)
			}
			if redact.Error(errors.New(text)).Error() != text {
				t.Errorf("redact takes it for a key: %q", text)
			}
			line := command.FindStringSubmatch(text)[1]
			if old, new, ok := strings.Cut(c.answers, "/"); ok {
				line = strings.Replace(line, " "+old+" ", " "+new+" ", 1)
			}
			shell(t, "/", line)
			for _, made := range []string{path + ".pem", path + ".openssh", path} {
				if _, err := os.Stat(made); err == nil {
					path = made
					break
				}
			}
			if c.public {
				if _, _, _, _, err := ssh.ParseAuthorizedKey(read(t, path)); err != nil {
					t.Error(err)
				}
				return
			}
			key, err := Parse(read(t, path), "horse")
			if err != nil {
				t.Fatal(err)
			}
			if by := bySSH(t, path, "horse"); by == nil || !bytes.Equal(by.Marshal(), key.PublicKey().Marshal()) {
				t.Errorf("ssh-keygen reads %v of it", by)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
				t.Errorf("others can read it: %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestPuTTY: the command works as it is written.
func TestPuTTY(t *testing.T) {
	t.Parallel()
	need(t, "puttygen", "ssh-keygen")
	for _, c := range []struct{ args, passphrase string }{
		{"-t ed25519", ""},
		{"-t rsa -b 2048", ""},
		{"-t ecdsa -b 384", ""},
		{"-t ed25519 --ppk-param version=2", ""},
		{"-t rsa -b 2048 -O private-sshcom", ""},
		{"-t ed25519", "horse"},
		{"-t rsa -b 2048", "horse"},
		{"-t ecdsa", "horse"},
	} {
		t.Run(c.args+" "+c.passphrase, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shell(t, dir, "printf '"+c.passphrase+"' > pass; puttygen -q "+c.args+" --new-passphrase pass -o 'a key.ppk'")
			path := filepath.Join(dir, "a key.ppk")
			data := read(t, path)
			_, err := Parse(data, c.passphrase)
			text := Explain(path, data, err).Error()
			m := command.FindStringSubmatch(text)
			if m == nil {
				t.Fatal(text)
			}
			line := m[1]
			if c.passphrase != "" { // which a person types
				line += " --old-passphrase pass"
			}
			shell(t, dir, line)
			made := path + ".openssh"
			key, err := Parse(read(t, made), c.passphrase)
			if by := bySSH(t, made, c.passphrase); err != nil || by == nil || !bytes.Equal(by.Marshal(), key.PublicKey().Marshal()) {
				t.Errorf("%v, ssh-keygen reads %v", err, by)
			}
		})
	}
}
