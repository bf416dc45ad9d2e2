package keyfile

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/ssh"
)

// text.go says what a file is in which no private key is found. Most often it is
// one, and was damaged when it was copied.

// explainText says what the file with that name is. The name is quoted for a shell.
func explainText(name string, data []byte) error {
	data = data[:min(len(data), maxFile)]
	if len(bytes.Trim(data, " \t\r\n\x00"+bom)) == 0 {
		if len(data) > 0 && len(bytes.Trim(data, "\x00")) == 0 {
			return errors.New("has only zero bytes, as after a crash; copy the private key into it again")
		}
		return errors.New("is empty; copy the private key into it")
	}
	if damage := explainDamage(name, data); damage != nil {
		return damage
	}
	for _, o := range others {
		if o.pattern.Match(data) {
			return errors.New(strings.ReplaceAll(o.text, "FILE", name))
		}
	}
	if what := explainDER(name, data); what != nil {
		return what
	}
	return explainParts(data)
}

// ExplainPublic says what the file at path is in which no public key or certificate
// of SSH was found.
func ExplainPublic(path string, data []byte) error {
	name := Shell(path)
	data = data[:min(len(data), maxFile)]
	block, _ := pem.Decode(data)
	damage := explainDamage(name, data)
	switch {
	case privateBlock(data) != nil:
		return errors.New("is a private key; write the path of its certificate, which ssh-keygen -s writes to a file that ends in -cert.pub")
	case damage != nil:
		return damage
	case block != nil && strings.Contains(block.Type, "CERTIFICATE"):
		return errors.New("is a certificate of TLS, which SSH does not use; sign the public key with ssh-keygen -s")
	case len(bytes.TrimSpace(data)) == 0:
		return errors.New("is empty; copy the certificate into it again")
	default:
		return errors.New("is not an OpenSSH certificate")
	}
}

// explainDamage says how a key or certificate was damaged and what repairs it, or
// returns nil.
func explainDamage(name string, data []byte) error {
	for _, d := range damages {
		if repaired, ok := d.repair(data); ok {
			if what := contentOf(repaired); what != "" {
				return fmt.Errorf("is %s %s; run %s", what, d.how, fmt.Sprintf(d.command, name))
			}
		}
	}
	return nil
}

// inPlace writes what a command makes of a file to that file, whose owner and mode
// stay. No other file ever has the key.
func inPlace(command string) string {
	return "k=$(" + command + `) && printf '%%s\n' "$k" > %[1]s`
}

// damages are what happens to the text of a key. The command repairs the file that
// is its argument.
var damages = []struct {
	how, command string
	repair       func([]byte) ([]byte, bool)
}{
	{"behind a byte order mark", `sed -i '1s/^\xEF\xBB\xBF//' %[1]s`, func(b []byte) ([]byte, bool) { return bytes.CutPrefix(b, []byte(bom)) }},
	{"in UTF-16", inPlace(`iconv -f UTF-16 -t UTF-8 %[1]s | tr -d '\r'`), func(b []byte) ([]byte, bool) { return fromUTF16(b, true) }},
	{"in UTF-16 (little-endian)", inPlace(`iconv -f UTF-16LE -t UTF-8 %[1]s | tr -d '\r'`), func(b []byte) ([]byte, bool) { return fromUTF16(b, false) }},
	{"in UTF-16 (big-endian)", inPlace(`iconv -f UTF-16BE -t UTF-8 %[1]s | tr -d '\r'`), func(b []byte) ([]byte, bool) {
		return fromUTF16(append([]byte{0xfe, 0xff}, b...), true)
	}},
	{"whose lines end in a carriage return alone", inPlace(`tr '\r' '\n' < %[1]s`), replacing("\r", "\n")},
	{"in quotes", inPlace(`tr -d "\"'" < %[1]s`), replacing(`"`, "", "'", "")},
	{`with \n where its line breaks belong`, inPlace(`sed 's/["'\'']//g; s/\\r//g; s/\\n/\n/g' %[1]s | ` + cutOut), func(b []byte) ([]byte, bool) {
		repaired, _ := replaceAll(b, `"`, "", "'", "", `\r`, "", `\n`, "\n")
		return marks.ReplaceAll(repaired, []byte("\n$1\n")), bytes.Contains(b, []byte(`\n`))
	}},
	{"whose lines are indented or quoted", inPlace(`sed 's/^[[:space:]>]*//' %[1]s | sed -n '/^-----B/,$p'`), func(b []byte) ([]byte, bool) {
		return indentation.ReplaceAll(b, nil), indentation.Match(b)
	}},
	{"on one line, or with other text in its first or last line", inPlace(`tr -d "\"'" < %[1]s | ` + cutOut), func(b []byte) ([]byte, bool) {
		b, _ = replaceAll(b, `"`, "", "'", "")
		return marks.ReplaceAll(b, []byte("\n$1\n")), marks.Match(b)
	}},
	{"in base64 a second time", inPlace("base64 -d < %[1]s"), func(b []byte) ([]byte, bool) {
		decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(b)), ""))
		return decoded, err == nil
	}},
}

// cutOut puts the first and last line of a key on lines of their own, and leaves out
// what is before and behind them.
const cutOut = `sed -E 's/(.)(-----(BEGIN|END) [A-Z0-9 ]+-----)/\1\n\2/g; s/(-----(BEGIN|END) [A-Z0-9 ]+-----)(.)/\1\n\3/g' | sed -n 's/^ *//; s/ *$//; /^-----B/,/^-----E/p'`

var (
	indentation = regexp.MustCompile(`(?m)^[ \t>]+`)
	marks       = regexp.MustCompile(` *(-----(?:BEGIN|END) [A-Z0-9 ]+-----) *`)
)

func replacing(oldNew ...string) func([]byte) ([]byte, bool) {
	return func(b []byte) ([]byte, bool) { return replaceAll(b, oldNew...) }
}

// replaceAll reports whether there was anything to replace.
func replaceAll(b []byte, oldNew ...string) ([]byte, bool) {
	replaced := []byte(strings.NewReplacer(oldNew...).Replace(string(b)))
	return replaced, !bytes.Equal(replaced, b)
}

// fromUTF16 decodes UTF-16, with a byte order mark or else in little-endian.
func fromUTF16(b []byte, marked bool) ([]byte, bool) {
	high := 1
	if marked {
		switch {
		case bytes.HasPrefix(b, []byte{0xff, 0xfe}):
		case bytes.HasPrefix(b, []byte{0xfe, 0xff}):
			high = 0
		default:
			return nil, false
		}
		b = b[2:]
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i+high])<<8 | uint16(b[2*i+1-high])
	}
	return []byte(string(utf16.Decode(units))), true
}

// contentOf says what kind of key a text holds, or "".
func contentOf(text []byte) string {
	if privateBlock(text) != nil {
		return "a private key"
	}
	if bytes.HasPrefix(text, []byte("PuTTY-User-Key-File")) {
		return "a PuTTY key"
	}
	if len(text) < 1<<16 {
		key, _, _, _, err := ssh.ParseAuthorizedKey(text)
		if _, ok := key.(*ssh.Certificate); ok {
			return "a certificate"
		}
		if err == nil {
			return "a public key"
		}
	}
	return ""
}

// others are files that hold no key that ssh reads, or not in a form that it does.
var others = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`^PuTTY-User-Key-File-\d+: (ssh-dss|ssh-ed448)`), "is a PuTTY key of a type that is not supported; " + anotherKey},
	{regexp.MustCompile(`^PuTTY-User-Key-File`), "is a PuTTY key; run puttygen FILE -O private-openssh -o FILE.openssh, and write the path of that file"},
	{regexp.MustCompile(`(?m)^---- BEGIN SSH2 PUBLIC KEY ----`), `is a public key in the form of RFC 4716; run k=$(ssh-keygen -i -f FILE) && printf '%s\n' "$k" > FILE`},
	{regexp.MustCompile(`(?m)^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----`), "is a private key of ssh.com; run puttygen FILE -O private-openssh -o FILE.openssh, and write the path of that file"},
	{regexp.MustCompile(`^\x00\x00\x00[\x07\x0b\x13](ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp)`), "is a key of Dropbear; run dropbearconvert dropbear openssh FILE FILE.openssh, and write the path of that file"},
	{regexp.MustCompile(`(?m)^-----BEGIN PUBLIC KEY-----`), `is a public key in PEM form; write the path of the private key or, with its key in the agent, run k=$(ssh-keygen -i -m PKCS8 -f FILE) && printf '%s\n' "$k" > FILE`},
	{regexp.MustCompile(`(?m)^-----BEGIN RSA PUBLIC KEY-----`), `is a public key in PEM form; write the path of the private key or, with its key in the agent, run k=$(ssh-keygen -i -m PEM -f FILE) && printf '%s\n' "$k" > FILE`},
	{regexp.MustCompile(`(?m)^SSH PRIVATE KEY FILE FORMAT 1\.1`), "is a key of SSH protocol 1, which servers no longer have; " + anotherKey},
	{regexp.MustCompile(`(?m)^-----BEGIN PGP `), "is a PGP key or message, which SSH does not use; " + anotherKey},
	{regexp.MustCompile(`^(age-encryption\.org|-----BEGIN AGE ENCRYPTED FILE|\$ANSIBLE_VAULT;|\x00GITCRYPT|Salted__)`), "is encrypted as a whole, by another program than ssh-keygen; decrypt it with that program"},
	{regexp.MustCompile(`^version https://git-lfs`), "is a pointer of Git LFS and not the key; run git lfs pull"},
	{regexp.MustCompile(`^\xfe\xed\xfe\xed`), "is a Java keystore; export its private key in PEM form"},
	{regexp.MustCompile(`(?i)^\s*<(!doctype|html|\?xml)`), "is a web page or XML; download the key itself"},
	{regexp.MustCompile(`^(\x1f\x8b|PK\x03\x04)`), "is a compressed archive; unpack it, and write the path of the key"},
}

var (
	oidPKCS7Data = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	// pkcs12RC2 is the name of RC2 with 40 bits in DER, 1.2.840.113549.1.12.1.6. Older
	// programs encrypt the certificates of a PKCS#12 file with it.
	pkcs12RC2 = []byte("\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06")
)

// explainDER says which key or certificate in DER a file is, or returns nil.
func explainDER(name string, data []byte) error {
	var body asn1.RawValue
	if _, err := asn1.Unmarshal(data, &body); err != nil || body.Tag != asn1.TagSequence || !body.IsCompound {
		return nil
	}
	_, err := decryptPKCS8(data, []byte("x"))
	switch {
	case errors.Is(err, errDamaged):
	case errors.Is(err, errLegacy):
		return fmt.Errorf("is an encrypted private key in DER form; run openssl pkey -provider legacy -provider default -inform DER -in %[1]s -aes256 -out %[1]s.pem, and write the path of that file", name)
	default:
		return fmt.Errorf("is an encrypted private key in DER form; run openssl pkey -inform DER -in %[1]s -aes256 -out %[1]s.pem, and write the path of that file", name)
	}
	var container struct {
		Version int
		Content struct {
			Type asn1.ObjectIdentifier
			Rest asn1.RawValue `asn1:"optional"`
		}
		MAC asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(data, &container); err == nil && container.Content.Type.Equal(oidPKCS7Data) {
		legacy := ""
		if bytes.Contains(data, pkcs12RC2) {
			legacy = "-legacy " // without which OpenSSL 3 does not read it
		}
		return fmt.Errorf("is a PKCS#12 file (.p12, .pfx); run openssl pkcs12 %[2]s-in %[1]s -nocerts -nodes -out %[1]s.pem, and write the path of that file", name, legacy)
	}
	var version int
	if _, err := asn1.Unmarshal(body.Bytes, &version); err == nil {
		return fmt.Errorf("is a private key in DER form; run openssl pkey -inform DER -in %[1]s -out %[1]s.pem, and write the path of that file", name)
	}
	return errors.New("is a certificate or public key in DER form; write the path of the private key")
}

// anyMark is the first or last line of a PEM file.
var anyMark = regexp.MustCompile(`-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----`)

// almostMark is the first line of a private key with other hyphens, or fewer.
var almostMark = regexp.MustCompile(`(?im)^[^A-Za-z0-9\n]{0,20}BEGIN [A-Z0-9 ]{0,20}PRIVATE KEY`)

// explainParts says which part of a key a file has.
func explainParts(data []byte) error {
	has := map[string]bool{}
	for _, m := range anyMark.FindAllSubmatch(data, -1) {
		if strings.HasSuffix(string(m[2]), "PRIVATE KEY") {
			has[string(m[1])] = true
		}
	}
	block, _ := pem.Decode(data)
	switch {
	case has["BEGIN"] && has["END"]:
		return explainParsing(errDamaged)
	case has["BEGIN"]:
		return errors.New("is incomplete: the last line of the private key, the one with END, is missing; copy the whole file again")
	case has["END"]:
		return errors.New("is incomplete: the first line of the private key, the one with BEGIN, is missing; copy the whole file again")
	case block != nil && strings.Contains(block.Type, "CERTIFICATE"):
		return errors.New("has a certificate of TLS and no private key; write the path of the private key")
	case almostMark.Match(data):
		return errors.New("is damaged: the first and last line of a private key begin and end with five hyphens, and are in capital letters; copy the whole file again")
	case isBody(data):
		return errors.New("is incomplete: the first and last line of the key, with BEGIN and END, are missing; copy the whole file again")
	case publicLine.Match(data):
		return explainPublicLine(publicLine.FindSubmatch(data))
	default:
		return errors.New("is not a private key in OpenSSH or PEM form; write the path of the file that ssh-keygen -y -f reads")
	}
}

// publicLine is a public key as a .pub file has it.
var publicLine = regexp.MustCompile(`^\s*((?:ssh|ecdsa|sk)-[a-z0-9@.-]{1,60})[ \t]+(AAAA[A-Za-z0-9+/=]*)`)

// explainPublicLine says why a public key cannot be read.
func explainPublicLine(match [][]byte) error {
	var blob struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	data, err := base64.StdEncoding.DecodeString(string(match[2]))
	if err == nil && ssh.Unmarshal(data, &blob) == nil && blob.Type == string(match[1]) {
		if _, err := ssh.ParsePublicKey(data); err != nil && strings.Contains(err.Error(), "unknown key algorithm") {
			return (&unsupportedError{blob.Type}).explain()
		}
	}
	return errors.New("is a public key that is damaged or incomplete; copy the whole line again")
}

// isBody reports whether a text is that of a key without its first and last line.
func isBody(data []byte) bool {
	decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
	var body asn1.RawValue
	if err != nil {
		return false
	}
	_, bad := asn1.Unmarshal(decoded, &body)
	return bytes.HasPrefix(decoded, []byte("openssh-key-v1\x00")) || bad == nil && body.Tag == asn1.TagSequence && body.IsCompound && len(body.Bytes) > 32
}
