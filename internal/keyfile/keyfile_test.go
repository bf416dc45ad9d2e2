package keyfile

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// shell runs a command line in a directory, and fails the test if that fails.
func shell(t testing.TB, dir, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", "umask 077; "+line)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// need skips a test without the programs, but not in CI.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") == "true" && name != "puttygen" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
}

// bySSH returns the public key that ssh-keygen reads from a private key, or nil.
func bySSH(t testing.TB, path, passphrase string) ssh.PublicKey {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-y", "-P", passphrase, "-f", path).Output()
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(out)
	if err != nil && !bytes.HasPrefix(out, []byte("ssh-dss ")) {
		t.Fatal(err)
	}
	return key
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path) //nolint:gosec // a path of the test's
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sources returns a directory with the keys rsa8, of openssl, and a, of ssh-keygen.
func sources(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	shell(t, dir, "openssl genrsa -out rsa8 2048 2>&1; ssh-keygen -q -t ed25519 -N '' -f a")
	return dir
}

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

// command is the command line in an error.
var command = regexp.MustCompile(`(?:; |, )run (.*?)(?:, and write the path of that file)?$`)

// TestFixes: the command in an error makes a key of the file that ours and
// ssh-keygen read, and that is the one it was.
func TestFixes(t *testing.T) {
	t.Parallel()
	need(t, "ssh-keygen", "openssl", "iconv")
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
		{name: "encrypted PKCS#8, PBES1", make: "openssl pkcs8 -topk8 -v1 PBE-SHA1-3DES -in rsa8 -passout pass:horse -out key", says: "is encrypted in a way that is not supported; run ", answers: "-p/-p -P horse -N horse"},
		{name: "aes128-ctr", make: "ssh-keygen -q -t ed25519 -a 1 -Z aes128-ctr -N horse -f key", says: "is encrypted with aes128-ctr, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "aes192-cbc", make: "ssh-keygen -q -t ed25519 -a 1 -Z aes192-cbc -N horse -f key", says: "is encrypted with aes192-cbc, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "aes256-gcm", make: "ssh-keygen -q -t ed25519 -a 1 -Z aes256-gcm@openssh.com -N horse -f key", says: "is encrypted with aes256-gcm@openssh.com, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "chacha20-poly1305", make: "ssh-keygen -q -t ed25519 -a 1 -Z chacha20-poly1305@openssh.com -N horse -f key", says: "is encrypted with chacha20-poly1305@openssh.com, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "3des-cbc", make: "ssh-keygen -q -t ed25519 -a 1 -Z 3des-cbc -N horse -f key", says: "is encrypted with 3des-cbc, which is not supported; run ssh-keygen -p -Z aes256-ctr -f ", answers: "-p/-p -P horse -N horse"},
		{name: "OpenSSH's form with another first line", make: `sed 's/ OPENSSH / /' a > key`, says: "is a private key in OpenSSH's form with the first and last line of another; run "},
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
			for _, made := range []string{path + ".pem", path} {
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
	for _, args := range []string{"-t ed25519", "-t rsa -b 2048", "-t ecdsa -b 384", "-t ed25519 --ppk-param version=2", "-t rsa -b 2048 -O private-sshcom"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			shell(t, dir, "touch empty; puttygen -q "+args+" --new-passphrase empty -o 'a key.ppk'")
			path := filepath.Join(dir, "a key.ppk")
			data := read(t, path)
			_, err := Parse(data, "")
			text := Explain(path, data, err).Error()
			m := command.FindStringSubmatch(text)
			if m == nil {
				t.Fatal(text)
			}
			shell(t, "/", m[1])
			made := path + ".openssh"
			key, err := Parse(read(t, made), "")
			if by := bySSH(t, made, ""); err != nil || by == nil || !bytes.Equal(by.Marshal(), key.PublicKey().Marshal()) {
				t.Errorf("%v, ssh-keygen reads %v", err, by)
			}
		})
	}
}

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
