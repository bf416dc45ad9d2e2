//go:build unix

package keyfile

import (
	"bytes"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/ssh"
)

// spellings are the ways in which environment variables and secret managers hold the
// file of a key.
func spellings(file string) map[string]string {
	std := base64.StdEncoding.EncodeToString([]byte(file))
	wrapped := func(s, by string) string {
		var lines []string
		for len(s) > 76 {
			lines, s = append(lines, s[:76]), s[76:]
		}
		return strings.Join(append(lines, s), by)
	}
	utf := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(file)) {
		utf = append(utf, byte(unit), byte(unit>>8))
	}
	with := func(lineBreak string) string { return strings.ReplaceAll(file, "\n", lineBreak) }
	return map[string]string{
		"as it is":                        file,
		"without its last line break":     strings.TrimSuffix(file, "\n"),
		"CRLF":                            with("\r\n"),
		"carriage returns":                with("\r"),
		`\n`:                              with(`\n`),
		`\r\n`:                            with(`\r\n`),
		`\\n`:                             with(`\\n`),
		"spaces":                          with(" "),
		"indented":                        "  " + with("\n    "),
		"empty lines":                     "\n\n" + file + "\n\n",
		"double quotes":                   `"` + with(`\n`) + `"`,
		"single quotes":                   "'" + file + "'",
		"a byte order mark":               "\ufeff" + file,
		"UTF-16":                          string(utf),
		"base64":                          std,
		"base64 without padding":          strings.TrimRight(std, "="),
		"base64, wrapped":                 wrapped(std, "\n") + "\n",
		"base64, wrapped with CRLF":       wrapped(std, "\r\n"),
		`base64, wrapped with \n`:         wrapped(std, `\n`),
		"base64, wrapped with spaces":     wrapped(std, " "),
		"base64 in quotes":                `"` + std + `"`,
		"base64url":                       base64.URLEncoding.EncodeToString([]byte(file)),
		"base64 of CRLF":                  base64.StdEncoding.EncodeToString([]byte(with("\r\n"))),
		`base64 of \n`:                    base64.StdEncoding.EncodeToString([]byte(with(`\n`))),
		"base64 without the last newline": base64.StdEncoding.EncodeToString([]byte(strings.TrimSuffix(file, "\n"))),
	}
}

// TestFromText: however a key is spelled, it is that key.
func TestFromText(t *testing.T) {
	t.Parallel()
	for kind, file := range map[string]struct{ options, passphrase string }{
		"OpenSSH":        {"-t ed25519", ""},
		"OpenSSH locked": {"-t ed25519 -a 1", "horse"},
		"RSA in PEM":     {"-t rsa -b 2048 -m PEM", ""},
		"locked PEM":     {"-t rsa -b 2048 -m PEM", "horse"},
		"PKCS#8":         {"-t ecdsa -m PKCS8", ""},
	} {
		dir := t.TempDir()
		shell(t, dir, "ssh-keygen -q -f key -N '"+file.passphrase+"' "+file.options)
		content := string(read(t, filepath.Join(dir, "key")))
		want, err := Parse([]byte(content), file.passphrase)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		for spelling, text := range spellings(content) {
			got, err := Parse(FromText(text), file.passphrase)
			if err != nil || !bytes.Equal(got.PublicKey().Marshal(), want.PublicKey().Marshal()) {
				t.Errorf("%s, %s: %v", kind, spelling, err)
			}
		}
	}
}

// TestFromTextPublic: so it is with the line of a public key or certificate, which may
// have a comment.
func TestFromTextPublic(t *testing.T) {
	t.Parallel()
	line := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKtw7P2BnRHPmdWXMnhbAMvsUbT8JyuJwXMGCPHHV+oD deploy@laptop\n"
	for spelling, text := range spellings(line) {
		public, _, _, _, err := ssh.ParseAuthorizedKey(FromText(text))
		if err != nil || ssh.FingerprintSHA256(public) == "" {
			t.Errorf("%s: %v", spelling, err)
		}
	}
	for _, other := range []string{"", " ", "/etc/caddy/key", "hunter2", strings.Repeat("A", maxFile+1)} {
		if got := string(FromText(other)); got != other {
			t.Errorf("%q became %q", other, got)
		}
	}
}

// FuzzFromText: no text makes it panic, and what it has returned stays as it is.
func FuzzFromText(f *testing.F) {
	for _, text := range spellings("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := FromText(text)
		if HasPrivateKey(once) && !HasPrivateKey(FromText(string(once))) {
			t.Errorf("%q: %q has no key any more", text, once)
		}
	})
}
