package sshconfig

import (
	"strings"
	"testing"
)

// TestUnknownKeywords checks what is said of lines whose keyword ssh does not know,
// in blocks that do not match as well: that such a line may be a Host is why.
func TestUnknownKeywords(t *testing.T) {
	for config, want := range map[string]string{
		"Hots a\n Port 1":                          `:1: unknown keyword "Hots"; did you mean Host?`,
		"Host b\n Port 1\nHsot a\n Port 2":         `:3: unknown keyword "Hsot"; did you mean Host?`,
		"Host: a":                                  `:1: unknown keyword "Host:"; did you mean Host?`,
		"Port:22":                                  `:1: an unknown keyword, perhaps Port, has no argument`,
		"- Host a\nPort 2":                         ":1: this is not a keyword of ssh_config(5), and ssh refuses it; correct the line, or name another file",
		"Host-Name a":                              `:1: unknown keyword "Host-Name"; did you mean Hostname?`,
		"Identity-File a":                          "did you mean IdentityFile?",
		"IdentityFiles a":                          "did you mean IdentityFile?",
		"ProxyJmp a":                               "did you mean ProxyJump?",
		"StrictHostkeyCheck no":                    `:1: this is not a keyword of ssh_config(5)`,
		"Host a\nUseKeychain yes":                  `:2: unknown keyword "UseKeychain", which ssh refuses as well; remove it, or write IgnoreUnknown UseKeychain above it`,
		"Host a\nPermitRootLogin no":               ":2: PermitRootLogin is a keyword of sshd_config(5), which ssh refuses here; remove it",
		"Port 1\nIgnoreUnknown Use*\nXyz a":        `:3: unknown keyword "Xyz"`,
		"Host b\nIgnoreUnknown Xyz\nHost a\nXyz a": `:4: unknown keyword "Xyz"`, // not in effect
		"\xef\xbb\xbfHost a":                       ":1: a byte order mark (U+FEFF) stands before the first word, which ssh refuses; save the file as UTF-8 without one",
		"Port 1\n\xef\xbb\xbfHost a":               ":2: a byte order mark",
		"H\x00o\x00s\x00t\x00 \x00":                ":1: the file is in UTF-16, which ssh does not read; run iconv",
		"\x00#\x00 \x00x\x00\n":                    ":1: the file is in UTF-16, which ssh does not read; run iconv",
		"\xff\xfeH\x00o\x00s\x00t\x00":             ":1: the file is in UTF-16, which ssh does not read; run iconv",
		"\u00a0Host a":                             ":1: the character U+00A0 stands where Host is expected, which ssh refuses; delete it",
		"\u200bPort 22":                            ":1: the character U+200B stands where Port is expected",
		"\u201cHost\u201d a":                       ":1: the character U+201C stands where Host is expected",
		"Match address 10.0.0.1":                   ":1: Match has an unknown criterion; ssh_config(5) has all,",
		"Ciphers aes128-crt":                       `:1: Ciphers: unknown algorithm "aes128-crt", which ssh refuses as well; correct it or take it out`,
		"LocalForward 8080":                        ":1: LocalForward: no target; write LocalForward [<bind>:]<port> <host>:<hostport>",
	} {
		if _, _, err := resolved(t, config, "a", Written{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", config, err, want)
		}
	}
	// A file of secrets has no line of it in the log.
	for _, config := range []string{
		"hunter2 x", "hunter2! x", "correct horse battery staple", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW= x",
		"Host a\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW x",
	} {
		_, _, err := resolved(t, config, "a", Written{})
		if err == nil || !strings.Contains(err.Error(), "not a keyword of ssh_config(5)") {
			t.Errorf("%q: got %v", config, err)
		}
	}
	for _, spelling := range spellings {
		if _, known := canonicalName(spelling); !known {
			t.Errorf("%s is no keyword", spelling)
		}
	}
	if _, _, err := resolved(t, "IgnoreUnknown Use*,x\nUseKeychain yes\nX y\nuseroaming", "a", Written{}); err == nil || !strings.Contains(err.Error(), ":4: useroaming has no argument") {
		t.Errorf("got %v", err)
	}
}
