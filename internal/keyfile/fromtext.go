package keyfile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"regexp"
	"strings"

	"golang.org/x/crypto/ssh"
)

// fromtext.go reads keys from texts that environment variables and secret managers hold.

// FromText returns the content of the file that a text stands for: the file of a private
// key, of a public key, or of a certificate. Its line breaks may be carriage returns, \n,
// or spaces; it may be in quotes, in UTF-16, or in base64 as a whole. A text that is
// neither of these files is returned as it is.
func FromText(text string) []byte {
	if len(text) > maxFile {
		return []byte(text)
	}
	if decoded, ok := fromUTF16([]byte(text), true); ok {
		text = string(decoded)
	}
	plain := textKey(text)
	if plain != "" {
		return []byte(plain)
	}
	if decoded, ok := decodeBase64(text); ok {
		if plain = textKey(decoded); plain != "" {
			return []byte(plain)
		}
	}
	return []byte(text)
}

// textKey returns the file of a key that a text is, or "".
func textKey(text string) string {
	text = strings.Trim(strings.TrimPrefix(text, bom), " \t\r\n\"'`")
	text = writtenReturn.ReplaceAllString(text, "")
	text = writtenNewline.ReplaceAllString(text, "\n")
	blocks := pemBlock.FindAllStringSubmatch(text, -1)
	if blocks == nil {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text)); err == nil { //nolint:dogsled // there is no more of it
			return text + "\n"
		}
		return ""
	}
	var file strings.Builder
	for _, b := range blocks {
		label, body, end := b[1], b[2], b[3]
		var headers strings.Builder
		for _, h := range pemHeader.FindAllString(body, -1) {
			headers.WriteString(h + "\n")
		}
		if headers.Len() > 0 {
			headers.WriteString("\n")
		}
		body = strings.Join(strings.Fields(pemHeader.ReplaceAllString(body, " ")), "")
		file.WriteString("-----BEGIN " + label + "-----\n" + headers.String() + body + "\n-----END " + end + "-----\n")
	}
	return file.String()
}

var (
	writtenReturn  = regexp.MustCompile(`\\+r`)
	writtenNewline = regexp.MustCompile(`\\+n`)
	pemBlock       = regexp.MustCompile(`(?s)-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END ([A-Z0-9 ]+)-----`)
	// pemHeader is a header of an encrypted key (RFC 1421), as ssh-keygen -m PEM writes.
	pemHeader = regexp.MustCompile(`(?:Proc-Type|DEK-Info): *[A-Za-z0-9,-]+`)
)

// decodeBase64 decodes base64 of either alphabet, padded or not, in one line or several.
func decodeBase64(text string) (decoded string, ok bool) {
	text = strings.Trim(text, " \t\r\n\"'`")
	text = writtenNewline.ReplaceAllString(writtenReturn.ReplaceAllString(text, ""), "")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.Join(strings.Fields(text), ""))
	data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return string(data), err == nil
}

// ExplainText is Explain for a key that is in no file: it names no command that converts
// one. Data is what FromText has returned.
func ExplainText(data []byte, err error) error {
	explained := Explain("key", data, err)
	if explained == nil {
		return nil
	}
	what, fix, _ := strings.Cut(explained.Error(), "; ")
	switch {
	case fix == "" || strings.HasPrefix(fix, anotherKey):
		return explained
	case len(bytes.TrimSpace(data)) == 0:
		return errors.New("is empty")
	default:
		return errors.New(what + "; write the whole text of a private key, as the file that ssh-keygen writes has it")
	}
}
