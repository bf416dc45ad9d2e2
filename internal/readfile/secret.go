package readfile

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
)

// Secret resolves a secret, raw being its placeholder and what its description. It refuses
// an empty value, and one with characters that an editor does not show. If resolve is nil,
// raw is the value. No error shows the value.
func Secret(what, raw string, resolve func(string) (string, error)) (string, error) {
	value := raw
	if resolve != nil {
		var err error
		if value, err = resolve(raw); err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
	}
	if value == "" {
		return "", fmt.Errorf("%s is empty; check what its placeholder stands for", what)
	}
	if err := secretFlaw(raw, value); err != nil {
		return "", fmt.Errorf("%s %w", what, err)
	}
	return value, nil
}

// CheckSecret resolves a secret as Secret does, unless it is "". The warning is of one that
// is written as it is.
func CheckSecret(what, raw string, resolve func(string) (string, error)) (warning string, err error) {
	if raw == "" {
		return "", nil
	}
	value, err := Secret(what, raw, resolve)
	if err == nil && resolve != nil && value == raw {
		warning = what + " is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}"
	}
	return warning, err
}

// PlaceholderFile returns the path of the file that a secret's placeholder stands for the
// content of. It is not ok for any other secret.
func PlaceholderFile(raw string) (path string, ok bool) {
	m := secretFile.FindStringSubmatch(raw)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// secretFile is a placeholder that stands for the content of a file.
var secretFile = regexp.MustCompile(`^\{file\.([^{}]+)\}$`)

// secretFlaw says why the value of a secret, which raw is the placeholder of, cannot be
// meant. It does not show the value.
func secretFlaw(raw, value string) error {
	file := "of its file"
	if path, ok := PlaceholderFile(raw); ok {
		file = keyfile.Shell(path)
	}
	switch {
	case strings.HasPrefix(value, "\ufeff"):
		return fmt.Errorf(`begins with a byte order mark, which is no part of it; run sed -i '1s/^\xEF\xBB\xBF//' %s`, file)
	case strings.HasPrefix(value, "\xff\xfe"), strings.HasPrefix(value, "\xfe\xff"):
		return fmt.Errorf(`is in UTF-16; run k=$(iconv -f UTF-16 -t UTF-8 %[1]s | tr -d '\r') && printf '%%s' "$k" > %[1]s`, file)
	case strings.Contains(value, "\x00"):
		return errors.New("has a zero byte in it, as a text in UTF-16 has; save its file as UTF-8")
	case strings.HasSuffix(value, "\n"), strings.HasSuffix(value, "\r"):
		return errors.New("ends in a line break, which is no part of it; remove that, and the empty lines at its end")
	default:
		return nil
	}
}
