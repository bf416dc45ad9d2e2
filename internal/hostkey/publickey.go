package hostkey

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// parsePublicKey parses "<type> <base64> [comment]".
func parsePublicKey(s string) (ssh.PublicKey, error) {
	fields := strings.Fields(s)
	if len(fields) < 2 {
		return nil, errors.New("is not of the form <type> <base64>")
	}
	blob, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, errors.New("is not valid base64; copy the whole line")
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("is not a valid key: %s", strings.TrimPrefix(err.Error(), "ssh: "))
	}
	if key.Type() != fields[0] {
		return nil, fmt.Errorf("says %q but holds a key of type %q", fields[0], key.Type())
	}
	return key, nil
}

// parseHostKey parses a host_key: either a key or a fingerprint.
func parseHostKey(s string) (key ssh.PublicKey, fingerprint string, err error) {
	if digest, ok := strings.CutPrefix(s, "SHA256:"); ok {
		digest = strings.TrimRight(digest, "=")
		if b, err := base64.RawStdEncoding.DecodeString(digest); err != nil || len(b) != 32 {
			return nil, "", fmt.Errorf("host_key %s is not a whole SHA256 fingerprint; copy it from ssh-keygen -lf", redact.Quote(s))
		}
		return nil, "SHA256:" + digest, nil
	}
	key, err = parsePublicKey(s)
	if err != nil {
		return nil, "", fmt.Errorf("host_key %s %w; write SHA256:<fingerprint> or <type> <base64>", redact.Quote(s), err)
	}
	if _, ok := key.(*ssh.Certificate); ok {
		return nil, "", fmt.Errorf("host_key %s is a certificate; write its authority's key as host_certificate_authority", redact.Quote(s))
	}
	return key, "", nil
}

// parseKeyLines parses the content of a file that an option names: a key a line.
func parseKeyLines(option, path string, data []byte, parse func(string) (ssh.PublicKey, error)) ([]knownKey, error) {
	var keys []knownKey
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		key, err := parse(line)
		if err != nil {
			return nil, readfile.Error(option, path, fmt.Errorf("line %d %w", number, err))
		}
		keys = append(keys, knownKey{key, fmt.Sprintf("%s:%d", path, number)})
	}
	return keys, nil
}

// KeygenCommand is the command that shows the fingerprint of such a key on the server
// (ssh-keygen(1)).
func KeygenCommand(key ssh.PublicKey) string {
	kind := "ed25519"
	switch {
	case key.Type() == ssh.KeyAlgoRSA:
		kind = "rsa"
	case strings.HasPrefix(key.Type(), "ecdsa-"):
		kind = "ecdsa"
	}
	return "ssh-keygen -lf /etc/ssh/ssh_host_" + kind + "_key.pub"
}
