package hostkey

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
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
