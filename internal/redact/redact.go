// Package redact keeps secrets that stand in the wrong place out of errors and
// logs. People write a placeholder for the text of a key where an option expects
// the path of its file: whoever prints that "path" prints the key.
//
// A path or a name is short, is one line and is no key. What is not so is refused
// where it is read, and nothing prints it. A short secret, such as most passwords,
// looks like a name: nothing can tell it from one.
package redact

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"
)

const (
	// maxComponent is the longest name of a file on the systems that Caddy runs on.
	maxComponent = 255
	// maxPath is the longest path there, and longer than any host name or user.
	maxPath = 4096
	// minDER is shorter than any key in DER, and longer than what other words of
	// the base64 alphabet decode to by chance.
	minDER = 32
)

// KnownHosts is what a Text is that has lines of a known_hosts file.
const KnownHosts = "the text of a known_hosts file"

// Text says what a value is that is no path or name.
type Text struct {
	// Is names it, as in "the text of a private key".
	Is string
	// Public marks a key or certificate that anybody may see.
	Public bool

	bytes int
	begin string // how it begins, where that is no secret; or ""
}

// String describes the value without showing it, as in "the text of a private key
// (411 bytes, begins with -----BEGIN OPENSSH PRIVATE KEY-----)".
func (t *Text) String() string {
	size := humanize.Comma(int64(t.bytes)) + " bytes"
	if t.begin != "" {
		size += ", begins with " + t.begin
	}
	return t.Is + " (" + size + ")"
}

// Path returns what s is if it cannot be a path, and otherwise nil.
func Path(s string) *Text {
	if t := Content(s); t != nil {
		return t
	}
	if len(s) > maxPath || longestComponent(s) > maxComponent {
		return &Text{Is: "a long text", bytes: len(s)}
	}
	return nil
}

// Content returns what s is if it is, or has in it, a key, a certificate, a line
// of a known_hosts file, or a control character, which ends a line among others.
// It does not look at the length.
func Content(s string) *Text {
	t := key(s)
	switch {
	case t != nil:
	case strings.ContainsAny(s, "\n\r"):
		t = &Text{Is: "a text of several lines"}
	case strings.ContainsFunc(s, unicode.IsControl):
		t = &Text{Is: "a text with control characters"}
	default:
		return nil
	}
	t.bytes = len(s)
	return t
}

// CheckPath returns an error for what cannot be a path.
func CheckPath(s string) error {
	if t := Path(s); t != nil {
		return fmt.Errorf("the value is %s, not a path; write it to a file and name that file", t)
	}
	return nil
}

// Check returns an error for what cannot be a name, an address or another short
// value.
func Check(s string) error {
	if t := Path(s); t != nil {
		return wrongPlace(t)
	}
	return nil
}

// CheckContent is Check for a value that may be long.
func CheckContent(s string) error {
	if t := Content(s); t != nil {
		return wrongPlace(t)
	}
	return nil
}

// CheckPublicKey is Check for a value that may be a public key or certificate.
func CheckPublicKey(s string) error {
	t := Path(s)
	if t == nil || t.Public && !strings.ContainsFunc(s, unicode.IsControl) {
		return nil
	}
	return wrongPlace(t)
}

func wrongPlace(t *Text) error {
	return fmt.Errorf("the value is %s, which does not belong here; check what its placeholder stands for", t)
}

// Quote returns s as an error or a log shows it: quoted, or described if it cannot
// be a path or a name. A public key of ordinary length is quoted.
func Quote(s string) string {
	t := Path(s)
	if t == nil || t.Public && len(s) <= maxComponent {
		return strconv.Quote(s)
	}
	return "<" + t.String() + ">"
}

// Error returns err, unless its text has a key in it: then it returns an error that
// says so. It is for errors of others, who print what they were given.
func Error(err error) error {
	if err == nil {
		return nil
	}
	if t := key(err.Error()); t != nil {
		return fmt.Errorf("an option has %s where a path or a name belongs; write it to a file and name that file", t.Is)
	}
	return err
}

var (
	pemHeader    = regexp.MustCompile(`-----BEGIN ([A-Z0-9 ]{1,40})-----`)
	openSSHMagic = "openssh-key-v1"
	// begins are the beginnings of keys, and their base64, which has no other form
	// at the beginning of a text.
	begins = []struct{ text, is string }{
		{"-----BEGIN", "the text of a PEM file"},
		{"---- BEGIN", "the text of an SSH2 key"},
		{"PuTTY-User-Key-File", "the text of a private key"},
		{base64Of(openSSHMagic), "the text of a private key in base64"},
		{base64Of("-----BEGIN"), "a PEM file in base64"},
		{base64Of("---- BEGIN"), "an SSH2 key in base64"},
		{base64Of("PuTTY-User-Key-File"), "a private key in base64"},
	}
	keyType = regexp.MustCompile(`^(ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-|rsa-sha2-)[a-z0-9@.-]{2,60}$`)
)

// base64Of returns what every base64 text of something begins with that begins
// with s.
func base64Of(s string) string {
	return base64.StdEncoding.EncodeToString([]byte(s[:len(s)/3*3]))
}

// key returns what s is if it has a key or a certificate in it.
func key(s string) *Text {
	if m := pemHeader.FindStringSubmatch(s); m != nil {
		is := "the text of a PEM file"
		switch {
		case strings.Contains(m[1], "PRIVATE KEY"):
			is = "the text of a private key"
		case strings.Contains(m[1], "CERTIFICATE"):
			is = "the text of a certificate"
		}
		return &Text{Is: is, begin: m[0]}
	}
	for _, b := range begins {
		if strings.Contains(s, b.text) {
			return &Text{Is: b.is}
		}
	}
	if hasDER(s) {
		return &Text{Is: "a key or certificate in base64"}
	}
	return publicKey(s)
}

// hasDER reports whether s has the base64 of a key or certificate in DER in it: what
// stands between the first and last line of a PEM file.
func hasDER(s string) bool {
	if isDER(strings.Join(strings.Fields(s), "")) {
		return true
	}
	for run := range base64Runs(s) {
		// It may be behind a slash, which is of the alphabet.
		for ok := true; ok; _, run, ok = strings.Cut(run, "/") {
			if isDER(run) {
				return true
			}
		}
	}
	return false
}

// isDER reports whether s is that.
func isDER(s string) bool {
	if !strings.HasPrefix(s, "M") { // 0x30, which begins an ASN.1 SEQUENCE
		return false
	}
	data, err := decode(s)
	if err != nil || len(data) < minDER {
		return false
	}
	var sequence asn1.RawValue
	rest, err := asn1.Unmarshal(data, &sequence)
	return err == nil && len(rest) == 0 && sequence.Tag == asn1.TagSequence && sequence.IsCompound
}

// base64Runs returns the runs of letters of the base64 alphabets in s.
func base64Runs(s string) iter.Seq[string] {
	return strings.FieldsFuncSeq(s, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune("+/-_=", r)
	})
}

// decode decodes base64 of either alphabet, padded or not.
func decode(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}

// publicKey returns what s is if it has an SSH public key in it: alone, as a .pub
// file has it, or with more, as a known_hosts file does.
func publicKey(s string) *Text {
	words := strings.Fields(s)
	for i, word := range words {
		for run := range base64Runs(word) {
			name := blobType(run)
			switch {
			case name == "":
				continue
			case i > 1 || i == 1 && !keyType.MatchString(words[0]):
				return &Text{Is: KnownHosts}
			case strings.Contains(name, "-cert-v01@"):
				return &Text{Is: "the text of a certificate", Public: run == word}
			default:
				return &Text{Is: "the text of a public key", Public: run == word}
			}
		}
	}
	return nil
}

// blobType returns the type of the key that a word is the base64 of, or "".
func blobType(word string) string {
	if !strings.HasPrefix(word, "AAAA") || len(word) < minDER {
		return ""
	}
	data, err := decode(word)
	if err != nil {
		return ""
	}
	n := binary.BigEndian.Uint32(data)
	if int64(n) > int64(len(data)-4) || !keyType.Match(data[4:4+n]) {
		return ""
	}
	return string(data[4 : 4+n])
}

// longestComponent returns the length of the longest name in a path.
func longestComponent(s string) int {
	longest := 0
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '/' || r == '\\' }) {
		longest = max(longest, len(part))
	}
	return longest
}

// Misplaced returns err, the error for an option with these arguments, unless it may
// show one of them that is a secret in the wrong place.
func Misplaced(args []string, err error) error {
	for _, arg := range args {
		bad := Path(arg)
		if bad == nil || bad.Public && !strings.Contains(err.Error(), arg) {
			continue
		}
		return Check(arg)
	}
	return err
}
