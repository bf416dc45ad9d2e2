package sshtest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// misplaced.go has what people put where a path or a name belongs.

// Misplaced returns texts that are no path or name, by what they are.
func Misplaced() map[string]string {
	key, ca := NewKey(), NewKey()
	openssh := string(key.PEM(""))
	der, err := x509.MarshalPKCS8PrivateKey(key.Private())
	if err != nil {
		panic(err)
	}
	pkcs8 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	lines := strings.Split(strings.TrimSpace(openssh), "\n")
	cert := AuthorizedKey(Certify(ca, key, ssh.Certificate{CertType: ssh.UserCert, KeyId: "k", ValidPrincipals: []string{"u"}, ValidBefore: ssh.CertTimeInfinity}))
	known := "bastion.example.com " + AuthorizedKey(ca.PublicKey())
	return map[string]string{
		"OpenSSH key":                     openssh,
		"OpenSSH key, lines as \\n":       strings.ReplaceAll(openssh, "\n", `\n`),
		"OpenSSH key, lines as spaces":    strings.Join(lines, " "),
		"OpenSSH key, its body alone":     strings.Join(lines[1:len(lines)-1], ""),
		"OpenSSH key in base64":           base64.StdEncoding.EncodeToString([]byte(openssh)),
		"PEM key":                         pkcs8,
		"PEM key, its body alone":         base64.StdEncoding.EncodeToString(der),
		"PEM key in base64":               base64.URLEncoding.EncodeToString([]byte(pkcs8)),
		"PuTTY key":                       "PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nPrivate-Lines: 1\r\n" + lines[2] + "\r\n",
		"certificate":                     cert,
		"known_hosts file":                known + "\nb.example.com " + AuthorizedKey(key.PublicKey()) + "\n",
		"known_hosts file with one line":  known,
		"hashed known_hosts line":         "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= " + AuthorizedKey(ca.PublicKey()),
		"password with more than a line":  fmt.Sprintf("correct horse %s\nbattery staple", lines[2][:20]),
		"password longer than any name":   strings.Repeat(strings.ReplaceAll(lines[2][:20], "/", "+"), 20), // one component of a path
		"OpenSSH key within something":    "/keys/" + openssh,
		"OpenSSH key in base64 with more": "u@" + base64.StdEncoding.EncodeToString([]byte(openssh)),
	}
}

// Shows reports whether a text shows one that Misplaced has returned, or a good part
// of it: in whatever form it does, a long run of its letters stays as it is.
func Shows(text, misplaced string) bool {
	const run = 16
	for word := range strings.FieldsFuncSeq(misplaced, func(r rune) bool { return strings.ContainsRune(" \r\n/\\:|", r) }) {
		if strings.HasPrefix(word, "-----") || strings.HasSuffix(word, "-----") {
			continue // what begins every key is no secret
		}
		for i := 0; i+run <= len(word); i += run {
			part := word[i : i+run]
			if part == "ssh-ed25519-cert" || part == "bastion.example." || part == "PuTTY-User-Key-F" {
				continue
			}
			if strings.Contains(text, part) {
				return true
			}
		}
	}
	return false
}
