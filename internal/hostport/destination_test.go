package hostport

import (
	"net/url"
	"strings"
	"testing"
)

func TestParseDestination(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Server{
		"host":                         {"", "host", ""},
		"user@host":                    {"user", "host", ""},
		"user@host:2222":               {"user", "host", "2222"},
		"host:22":                      {"", "host", "22"},
		"a@b@host":                     {"a@b", "host", ""},
		"[2001:db8::1]":                {"", "2001:db8::1", ""},
		"u@[2001:db8::1]:2222":         {"u", "2001:db8::1", "2222"},
		"2001:db8::1":                  {"", "2001:db8::1", ""},
		"u@::1":                        {"u", "::1", ""},
		"ssh://host":                   {"", "host", ""},
		"ssh://user@host:2222":         {"user", "host", "2222"},
		"ssh://user@host/":             {"user", "host", ""},
		"ssh://a%40b@[2001:db8::1]:22": {"a@b", "2001:db8::1", "22"},
	} {
		got, err := ParseDestination(text)
		if err != nil || got != want {
			t.Errorf("%s: got %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"", "@host", "user@", "host:0", "host:port", "http://host", "ssh://user:hunter2@host", "user:hunter2@host:22", "2001:db8::x", "-oProxyCommand"} {
		got, err := ParseDestination(text)
		if err == nil {
			t.Errorf("%q: got %+v", text, got)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(text, "hunter2") && !strings.Contains(err.Error(), "--password") {
			t.Errorf("%q: the error shows the password, or not what to do: %v", text, err)
		}
	}
}

// FuzzParseDestination: [user@]host[:port] of the command, or a URL.
func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"deploy@b.example:22", "ssh://u%40x@b:2222/", "b", "ssh://u:p@b", "@b", "[::1]:22", "u@[fe80::1%25x]", "a,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		if err != nil {
			return
		}
		if d.Host == "" {
			t.Errorf("%q has no host", s)
		}
		if rest, ok := strings.CutPrefix(s, "ssh://"); ok && d.User != "" {
			if user, err := url.PathUnescape(rest[:strings.LastIndexByte(rest, '@')]); err != nil || user != d.User {
				t.Errorf("%q: user %q, want %q, %v", s, d.User, user, err)
			}
		}
	})
}
