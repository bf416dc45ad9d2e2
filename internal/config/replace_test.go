package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestReplacePlaceholders(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("secret", "s3{cr}et\n")
	empty := write("empty", "\n")
	t.Setenv("SSH_TUNNEL_TEST_SET", "a{b}c")
	t.Setenv("SSH_TUNNEL_TEST_EMPTY", "")

	for in, want := range map[string]string{
		"":                                     "",
		"plain":                                "plain",
		"{env.SSH_TUNNEL_TEST_SET}":            "a{b}c", // values are taken as they are
		"x-{env.SSH_TUNNEL_TEST_SET}-y":        "x-a{b}c-y",
		"{file." + file + "}":                  "s3{cr}et",
		`p#a\{s\}s`:                            "p#a{s}s",
		"one { brace":                          "one { brace",
		"one } brace":                          "one } brace",
		`\{{env.SSH_TUNNEL_TEST_SET}\}`:        "{a{b}c}",
		`back\slash`:                           `back\slash`,
		`{env.SSH_TUNNEL_TEST_SET}{system.os}`: "a{b}c" + systemOS(t),
	} {
		for name, replace := range map[string]func(string) (string, error){"plain": replacePlaceholders, "secret": replaceSecret} {
			if got, err := replace(in); err != nil || got != want {
				t.Errorf("%s %q: got %q, %v; want %q", name, in, got, err, want)
			}
		}
	}

	for in, want := range map[string]string{
		"p#a{s}s":                        `unknown placeholder {s}; for a brace that is meant as such write \{`,
		"{http.request.host}":            `unknown placeholder {http.request.host}`,
		"{}":                             `unknown placeholder {}`,
		"{env.SSH_TUNNEL_TEST_EMPTY}":    `placeholder {env.SSH_TUNNEL_TEST_EMPTY} is empty; set it`,
		"a{env.SSH_TUNNEL_TEST_UNSET}":   `placeholder {env.SSH_TUNNEL_TEST_UNSET} is empty; set it`,
		"{file." + empty + "}":           `} is empty: the file is empty, absent or not readable by the user`,
		"{file." + dir + "/nonexistent}": `} is empty: the file is empty, absent or not readable by the user`,
	} {
		if got, err := replacePlaceholders(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %q, %v; want an error with %q", in, got, err, want)
		}
		if got, err := replaceSecret(in); err == nil || got != "" {
			t.Errorf("secret %q: got %q, %v; want an error", in, got, err)
		}
	}
}

// A secret that happens to have braces in it must not be shown for that.
func TestReplaceSecretHidesIt(t *testing.T) {
	for _, secret := range []string{"{hunter2}", "p#{hunter2}s", "{hunter2", strings.Repeat("{", 200) + "hunter2"} {
		if _, err := replaceSecret(secret); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", secret, err)
		}
	}
}

func systemOS(t *testing.T) string {
	t.Helper()
	s, err := replacePlaceholders("{system.os}")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestResolvePath(t *testing.T) {
	for in, want := range map[string]string{
		"~":              "/home/caddy",
		"~/.ssh/id":      "/home/caddy/.ssh/id",
		"/etc/~/x":       "/etc/~/x",
		"relative":       "relative",
		"none":           "none",
		"SSH_AUTH_SOCK":  "SSH_AUTH_SOCK",
		"ssh-rsa AAAA~/": "ssh-rsa AAAA~/",
	} {
		r := &resolver{home: "/home/caddy"}
		if got := r.path("identity_file", in); r.err != nil || filepath.ToSlash(got) != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, r.err, want)
		}
	}

	r := &resolver{}
	r.path("identity_file", "~/.ssh/id")
	if r.err == nil || !strings.Contains(r.err.Error(), "has no home directory; set HOME or write the whole path") {
		t.Errorf("without a home: %v", r.err)
	}
	first := r.err
	r.path("known_hosts", "~other/x")
	if !errors.Is(r.err, first) {
		t.Errorf("the first error was %v, and became %v", first, r.err)
	}
}

// TestHostKeysInWrongPlaces: the text of known_hosts in the place of its path, and with
// a name in the place of a key, is refused with what to write instead.
func TestHostKeysInWrongPlaces(t *testing.T) {
	t.Parallel()
	key := sshtest.NewKey()
	line := "b.example " + key.AuthorizedKey()
	const orKey = ", not a path; write it to a file and name that file, or write the host's key as host_key <type> <base64>"
	for _, c := range []struct {
		option, value, want string
	}{
		{"known_hosts", line, "known_hosts: the value is the text of a known_hosts file (90 bytes)" + orKey},
		{"known_hosts", line + "\n" + line + "\n", "known_hosts: the value is the text of a known_hosts file (182 bytes)" + orKey},
		{"known_hosts", key.AuthorizedKey(), "known_hosts: the value is the text of a public key (80 bytes)" + orKey},
		{"known_hosts", key.Fingerprint(), "known_hosts: the value is a fingerprint, not a path; write it as host_key"},
		{"known_hosts", "/etc/ssh/ssh_known_hosts", ""},
		{"host_key", line, "host_key: the value is the text of a known_hosts file (90 bytes); write <type> <base64>, without the name of the host"},
		{"host_key", key.AuthorizedKey(), ""},
		{"host_key", key.Fingerprint(), ""},
	} {
		r := &resolver{}
		if c.option == "known_hosts" {
			r.knownHosts(c.option, c.value)
		} else {
			r.hostKey(c.option, c.value)
		}
		got := ""
		if r.err != nil {
			got = r.err.Error()
		}
		if got != c.want {
			t.Errorf("%s %q\n got: %s\nwant: %s", c.option, c.value, got, c.want)
		}
	}
}

func TestResolveTarget(t *testing.T) {
	t.Setenv("SSH_TUNNEL_TEST_HOST", "git.internal")
	if got, err := ResolveTarget("{env.SSH_TUNNEL_TEST_HOST}:22"); err != nil || got.Address != "git.internal:22" {
		t.Errorf("got %+v (%v)", got, err)
	}
	for _, s := range []string{"{env.SSH_TUNNEL_TEST_ABSENT}:22", "{unknown}:22"} {
		if _, err := ResolveTarget(s); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("target %q: ", s)) {
			t.Errorf("%q: got error %v", s, err)
		}
	}
}
