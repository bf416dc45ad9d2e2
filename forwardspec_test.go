package sshtunnel

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestParseForward(t *testing.T) {
	t.Parallel()
	cases := []struct {
		kind           forwardKind
		text           string
		listen, target endpoint
	}{
		{forwardL, "8008:web:80", endpoint{host: noHost, port: "8008"}, endpoint{host: "web", port: "80"}},
		{forwardL, "127.0.0.2:8008:web:80", endpoint{host: "127.0.0.2", port: "8008"}, endpoint{host: "web", port: "80"}},
		{forwardL, "*:8008:web:80", endpoint{port: "8008"}, endpoint{host: "web", port: "80"}},
		{forwardL, ":8008:web:80", endpoint{port: "8008"}, endpoint{host: "web", port: "80"}},
		{forwardL, "localhost:8008:web:80", endpoint{host: noHost, port: "8008"}, endpoint{host: "web", port: "80"}},
		{forwardL, "[::1]:8080:[fe80::1]:80", endpoint{host: "::1", port: "8080"}, endpoint{host: "fe80::1", port: "80"}},
		{forwardL, "[::]:8080:web:80", endpoint{host: "::", port: "8080"}, endpoint{host: "web", port: "80"}},
		{forwardL, "8080:[2001:db8::1]:80", endpoint{host: noHost, port: "8080"}, endpoint{host: "2001:db8::1", port: "80"}},
		{forwardL, "8080:/run/app.sock", endpoint{host: noHost, port: "8080"}, endpoint{path: "/run/app.sock"}},
		{forwardL, "[::1]:8080:/run/app.sock", endpoint{host: "::1", port: "8080"}, endpoint{path: "/run/app.sock"}},
		{forwardL, "/tmp/app.sock:web:80", endpoint{path: "/tmp/app.sock"}, endpoint{host: "web", port: "80"}},
		{forwardL, "/tmp/app.sock:/run/app.sock", endpoint{path: "/tmp/app.sock"}, endpoint{path: "/run/app.sock"}},
		{forwardL, "[/tmp/a:b.sock]:[/run/c:d.sock]", endpoint{path: "/tmp/a:b.sock"}, endpoint{path: "/run/c:d.sock"}},
		{forwardL, "8080:web:http", endpoint{host: noHost, port: "8080"}, endpoint{host: "web", port: "80"}},
		{forwardR, "9000:localhost:3000", endpoint{host: noHost, port: "9000"}, endpoint{host: "localhost", port: "3000"}},
		{forwardR, "*:9000:localhost:3000", endpoint{port: "9000"}, endpoint{host: "localhost", port: "3000"}},
		{forwardR, "9000:/tmp/app.sock", endpoint{host: noHost, port: "9000"}, endpoint{path: "/tmp/app.sock"}},
		{forwardR, "/run/app.sock:localhost:3000", endpoint{path: "/run/app.sock"}, endpoint{host: "localhost", port: "3000"}},
		{forwardR, "9000", endpoint{host: noHost, port: "9000"}, endpoint{}},
		{forwardR, "*:9000", endpoint{port: "9000"}, endpoint{}},
		{forwardR, "/run/socks", endpoint{path: "/run/socks"}, endpoint{}},
		{forwardD, "1080", endpoint{host: noHost, port: "1080"}, endpoint{}},
		{forwardD, "*:1080", endpoint{port: "1080"}, endpoint{}},
		{forwardD, "[::1]:1080", endpoint{host: "::1", port: "1080"}, endpoint{}},
		{forwardD, "/tmp/socks", endpoint{path: "/tmp/socks"}, endpoint{}},
	}
	for _, c := range cases {
		spec, err := parseForward(c.kind, c.text)
		if err != nil {
			t.Errorf("%c %s: %v", c.kind, c.text, err)
		} else if spec.listen != c.listen || spec.target != c.target {
			t.Errorf("%c %s: listens on %+v for %+v", c.kind, c.text, spec.listen, spec.target)
		}
	}
}

func TestParseForwardRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		kind       forwardKind
		text, want string
	}{
		{forwardL, "", "write [bind:]port:host:hostport"},
		{forwardL, "8008", "write [bind:]port:host:hostport"},
		{forwardL, "8008:web", "write [bind:]port:host:hostport"},
		{forwardL, "/tmp/app.sock", "write [bind:]port:host:hostport"},
		{forwardL, "8008:web:80:90:100", "too many colons"},
		{forwardL, "8008:2001:db8::1:80", "too many colons"},
		{forwardL, "0:web:80", `port "0" is not`},
		{forwardL, "8008:web:0", `port "0" is not`},
		{forwardL, "8008:web:65536", `port "65536" is not`},
		{forwardL, ":web:80", `port "" is not`},
		{forwardL, "8008:web:", `port "" is not`},
		{forwardL, "nosuchservice:web:80", `port "nosuchservice" is not`},
		{forwardL, "8008::80", "no host to forward to"},
		{forwardL, "[::1:8080:web:80", "a bracket is not closed"},
		{forwardL, "[::1]8080:web:80", "expected a colon after the bracket"},
		{forwardL, "8080:run/app.sock", "not the absolute path"},
		{forwardR, "tmp/app.sock:web:80", "not the absolute path"},
		{forwardL, "8080:/tmp/x:web:80", "write [bind:]port:host:hostport"},
		{forwardL, "a:/tmp/x:/run/y", "write [bind:]port:host:hostport"},
		{forwardR, "", `port "" is not`},
		{forwardR, "0:localhost:3000", `port 0, which lets the SSH server choose one`},
		{forwardD, "1080:web:80", "too many colons"},
		{forwardD, "localhost:", `port "" is not`},
		{forwardD, "localhost:/tmp/socks", "write [bind:]port"},
	}
	for _, c := range cases {
		_, err := parseForward(c.kind, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%c %q: got %v, want %q", c.kind, c.text, err, c.want)
		}
	}
}

// TestParseForwardRelative: as for ssh, a socket of this machine may be relative to
// the directory that the command runs in.
func TestParseForwardRelative(t *testing.T) {
	t.Parallel()
	want, err := filepath.Abs("run/app.sock")
	if err != nil {
		t.Fatal(err)
	}
	for text, kind := range map[string]forwardKind{"./run/app.sock:web:80": forwardL, "run/app.sock": forwardD, "8080:run/app.sock": forwardR} {
		spec, err := parseForward(kind, text)
		if err != nil || spec.listen.path != want && spec.target.path != want {
			t.Errorf("%c %s: %+v, %v", kind, text, spec, err)
		}
	}
}

func FuzzParseForward(f *testing.F) {
	f.Add(byte('L'), "[::1]:8080:[fe80::1]:80")
	f.Add(byte('R'), "/tmp/a:/tmp/b")
	f.Add(byte('D'), "*:1080")
	f.Fuzz(func(t *testing.T, kind byte, s string) {
		spec, err := parseForward(forwardKind(kind), s)
		if err != nil {
			return
		}
		if (spec.listen.port == "") == (spec.listen.path == "") {
			t.Errorf("%q listens on %+v", s, spec.listen)
		}
		if proxy := spec.isProxy() && kind != 'L'; !proxy && (spec.target.port == "") == (spec.target.path == "") {
			t.Errorf("%q leads to %+v", s, spec.target)
		}
	})
}
