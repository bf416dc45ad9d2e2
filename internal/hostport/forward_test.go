package hostport

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestParseForward(t *testing.T) {
	t.Parallel()
	cases := []struct {
		kind           ForwardKind
		text           string
		listen, target Endpoint
	}{
		{Local, "8008:web:80", Endpoint{Host: NoHost, Port: "8008"}, Endpoint{Host: "web", Port: "80"}},
		{Local, "127.0.0.2:8008:web:80", Endpoint{Host: "127.0.0.2", Port: "8008"}, Endpoint{Host: "web", Port: "80"}},
		{Local, "*:8008:web:80", Endpoint{Port: "8008"}, Endpoint{Host: "web", Port: "80"}},
		{Local, ":8008:web:80", Endpoint{Port: "8008"}, Endpoint{Host: "web", Port: "80"}},
		{Local, "localhost:8008:web:80", Endpoint{Host: NoHost, Port: "8008"}, Endpoint{Host: "web", Port: "80"}},
		{Local, "[::1]:8080:[fe80::1]:80", Endpoint{Host: "::1", Port: "8080"}, Endpoint{Host: "fe80::1", Port: "80"}},
		{Local, "[::]:8080:web:80", Endpoint{Host: "::", Port: "8080"}, Endpoint{Host: "web", Port: "80"}},
		{Local, "8080:[2001:db8::1]:80", Endpoint{Host: NoHost, Port: "8080"}, Endpoint{Host: "2001:db8::1", Port: "80"}},
		{Local, "8080:/run/app.sock", Endpoint{Host: NoHost, Port: "8080"}, Endpoint{Path: "/run/app.sock"}},
		{Local, "[::1]:8080:/run/app.sock", Endpoint{Host: "::1", Port: "8080"}, Endpoint{Path: "/run/app.sock"}},
		{Local, "/tmp/app.sock:web:80", Endpoint{Path: "/tmp/app.sock"}, Endpoint{Host: "web", Port: "80"}},
		{Local, "/tmp/app.sock:/run/app.sock", Endpoint{Path: "/tmp/app.sock"}, Endpoint{Path: "/run/app.sock"}},
		{Local, "[/tmp/a:b.sock]:[/run/c:d.sock]", Endpoint{Path: "/tmp/a:b.sock"}, Endpoint{Path: "/run/c:d.sock"}},
		{Local, "8080:web:http", Endpoint{Host: NoHost, Port: "8080"}, Endpoint{Host: "web", Port: "80"}},
		{Remote, "9000:localhost:3000", Endpoint{Host: NoHost, Port: "9000"}, Endpoint{Host: "localhost", Port: "3000"}},
		{Remote, "*:9000:localhost:3000", Endpoint{Port: "9000"}, Endpoint{Host: "localhost", Port: "3000"}},
		{Remote, "9000:/tmp/app.sock", Endpoint{Host: NoHost, Port: "9000"}, Endpoint{Path: "/tmp/app.sock"}},
		{Remote, "/run/app.sock:localhost:3000", Endpoint{Path: "/run/app.sock"}, Endpoint{Host: "localhost", Port: "3000"}},
		{Remote, "9000", Endpoint{Host: NoHost, Port: "9000"}, Endpoint{}},
		{Remote, "*:9000", Endpoint{Port: "9000"}, Endpoint{}},
		{Remote, "/run/socks", Endpoint{Path: "/run/socks"}, Endpoint{}},
		{Dynamic, "1080", Endpoint{Host: NoHost, Port: "1080"}, Endpoint{}},
		{Dynamic, "*:1080", Endpoint{Port: "1080"}, Endpoint{}},
		{Dynamic, "[::1]:1080", Endpoint{Host: "::1", Port: "1080"}, Endpoint{}},
		{Dynamic, "/tmp/socks", Endpoint{Path: "/tmp/socks"}, Endpoint{}},
	}
	for _, c := range cases {
		spec, err := ParseForward(c.kind, c.text)
		if err != nil {
			t.Errorf("%c %s: %v", c.kind, c.text, err)
		} else if spec.Listen != c.listen || spec.Target != c.target {
			t.Errorf("%c %s: listens on %+v for %+v", c.kind, c.text, spec.Listen, spec.Target)
		}
	}
}

func TestParseForwardRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		kind       ForwardKind
		text, want string
	}{
		{Local, "", "write [bind:]port:host:hostport"},
		{Local, "8008", "write [bind:]port:host:hostport"},
		{Local, "8008:web", "write [bind:]port:host:hostport"},
		{Local, "/tmp/app.sock", "write [bind:]port:host:hostport"},
		{Local, "8008:web:80:90:100", "too many colons"},
		{Local, "8008:2001:db8::1:80", "too many colons"},
		{Local, "0:web:80", `port "0" is not`},
		{Local, "8008:web:0", `port "0" is not`},
		{Local, "8008:web:65536", `port "65536" is not`},
		{Local, ":web:80", `port "" is not`},
		{Local, "8008:web:", `port "" is not`},
		{Local, "nosuchservice:web:80", `port "nosuchservice" is not`},
		{Local, "8008::80", "no host to forward to"},
		{Local, "[::1:8080:web:80", "a bracket is not closed"},
		{Local, "[::1]8080:web:80", "expected a colon after the bracket"},
		{Local, "8080:run/app.sock", "not the absolute path"},
		{Remote, "tmp/app.sock:web:80", "not the absolute path"},
		{Local, "8080:/tmp/x:web:80", "write [bind:]port:host:hostport"},
		{Local, "a:/tmp/x:/run/y", "write [bind:]port:host:hostport"},
		{Remote, "", `port "" is not`},
		{Remote, "0:localhost:3000", `port 0, which lets the SSH server choose one`},
		{Dynamic, "1080:web:80", "too many colons"},
		{Dynamic, "localhost:", `port "" is not`},
		{Dynamic, "localhost:/tmp/socks", "write [bind:]port"},
	}
	for _, c := range cases {
		_, err := ParseForward(c.kind, c.text)
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
	for text, kind := range map[string]ForwardKind{"./run/app.sock:web:80": Local, "run/app.sock": Dynamic, "8080:run/app.sock": Remote} {
		spec, err := ParseForward(kind, text)
		if err != nil || spec.Listen.Path != want && spec.Target.Path != want {
			t.Errorf("%c %s: %+v, %v", kind, text, spec, err)
		}
	}
}

func FuzzParseForward(f *testing.F) {
	f.Add(byte('L'), "[::1]:8080:[fe80::1]:80")
	f.Add(byte('R'), "/tmp/a:/tmp/b")
	f.Add(byte('D'), "*:1080")
	f.Fuzz(func(t *testing.T, kind byte, s string) {
		spec, err := ParseForward(ForwardKind(kind), s)
		if err != nil {
			return
		}
		if (spec.Listen.Port == "") == (spec.Listen.Path == "") {
			t.Errorf("%q listens on %+v", s, spec.Listen)
		}
		if proxy := spec.IsProxy() && kind != 'L'; !proxy && (spec.Target.Port == "") == (spec.Target.Path == "") {
			t.Errorf("%q leads to %+v", s, spec.Target)
		}
	})
}
