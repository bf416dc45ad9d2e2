package readfile

import (
	"errors"
	"testing"
)

// TestSecret: a secret that cannot be meant is refused, and not shown.
func TestSecret(t *testing.T) {
	resolve := func(s string) (string, error) {
		switch s {
		case "{ok}":
			return "value", nil
		case "{empty}":
			return "", nil
		default:
			return "", errors.New("unknown placeholder " + s)
		}
	}
	if v, err := Secret("password", "{ok}", resolve); v != "value" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
	_, err := Secret("password", "{empty}", resolve)
	wantError(t, err, "password is empty; check what its placeholder stands for")
	_, err = Secret("password", "{x}", resolve)
	wantError(t, err, "password: unknown placeholder {x}")
	for value, want := range map[string]string{
		"\ufeffsecret":       `password begins with a byte order mark, which is no part of it; run sed -i '1s/^\xEF\xBB\xBF//' '/etc/my caddy/pw'`,
		"\xff\xfes\x00e\x00": `password is in UTF-16; run k=$(iconv -f UTF-16 -t UTF-8 '/etc/my caddy/pw' | tr -d '\r') && printf '%s' "$k" > '/etc/my caddy/pw'`,
		"s\x00e\x00":         "password has a zero byte in it, as a text in UTF-16 has; save its file as UTF-8",
		"secret\n":           "password ends in a line break, which is no part of it; remove that, and the empty lines at its end",
		"secret\r":           "password ends in a line break, which is no part of it; remove that, and the empty lines at its end",
	} {
		_, err := Secret("password", "{file./etc/my caddy/pw}", func(string) (string, error) { return value, nil })
		wantError(t, err, want)
	}
	if v, err := Secret("password", "plain", nil); v != "plain" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("error\n got: %v\nwant: %s", err, want)
	}
}
