package permit

import (
	"strings"
	"testing"
)

func TestPermit(t *testing.T) {
	for _, tt := range []struct {
		patterns string // with spaces between them
		permits  string // targets, each with = and how it is dialed if that is different
		refuses  string
	}{
		{
			patterns: "web.internal:80",
			permits:  "web.internal:80 WEB.Internal:080=web.internal:80 web.internal.:80=web.internal:80",
			refuses:  "web.internal:81 web:80 web.internal.example:80 a.web.internal:80 web.internal..:80 web.internal.evil:80 10.0.0.5:80 [::1]:80 web.internal",
		},
		{patterns: "web.internal.:80", permits: "web.internal:80=web.internal.:80 web.internal.:80"},
		{patterns: "localhost:80", permits: "localhost:80 LOCALHOST:80=localhost:80", refuses: "127.0.0.1:80 [::1]:80 :80 a.localhost:80"},
		{
			patterns: "127.0.0.1:80",
			permits: "127.0.0.1:80 127.1:80=127.0.0.1:80 0x7f.1:80=127.0.0.1:80 2130706433:80=127.0.0.1:80 017700000001:80=127.0.0.1:80 " +
				"0X7F000001:80=127.0.0.1:80 127.0.1:80=127.0.0.1:80 0177.0.0.01:80=127.0.0.1:80 [::ffff:127.0.0.1]:80=127.0.0.1:80 [::ffff:7f00:1]:80=127.0.0.1:80",
			refuses: "localhost:80 127.0.0.2:80 127.0.0.1.:80 [::127.0.0.1]:80 [::1]:80 [64:ff9b::7f00:1]:80 127.0.0.1:8080 [::ffff:127.0.0.1%lo]:80 0:80 127.0.0.1.example:80 4294967297:80",
		},
		{
			patterns: "10.0.0.0/8:443",
			permits:  "10.0.0.5:443 10.255.255.255:443 10.1:443=10.0.0.1:443 012.0.0.1:443=10.0.0.1:443 [::ffff:10.0.0.5]:443=10.0.0.5:443",
			refuses:  "10.0.0.5:80 11.0.0.5:443 web.internal:443 10.0.0.5.:443 10.0.0.256:443 10.example:443 010.0.0.1:443 [::10.0.0.5]:443",
		},
		{
			patterns: "[fd00::/8]:443",
			permits:  "[fd00::5]:443 [FD00:0::5]:443=[fd00::5]:443",
			refuses:  "[fe80::1]:443 [fd00::5%eth0]:443 10.0.0.5:443 [fd00::5.internal]:443",
		},
		{patterns: "[::/0]:443", permits: "[2001:db8::1]:443", refuses: "127.0.0.1:443 [::ffff:127.0.0.1]:443 2130706433:443"},
		{patterns: "0.0.0.0/0:443", permits: "127.0.0.1:443 [::ffff:127.0.0.1]:443=127.0.0.1:443", refuses: "[::1]:443 web:443"},
		{patterns: "[fe80::1%eth0]:80", permits: "[fe80::1%eth0]:80", refuses: "[fe80::1]:80 [fe80::1%eth1]:80"},
		{patterns: "[::1]:80", permits: "[::1]:80 [0:0::1]:80=[::1]:80 [::0.0.0.1]:80=[::1]:80", refuses: "127.0.0.1:80 localhost:80"},
		{
			patterns: "*.apps.internal:8000-8999",
			permits:  "a.apps.internal:8000 a.b.apps.internal:8999 A_1.Apps.internal.:8080=a_1.apps.internal:8080",
			refuses:  "apps.internal:8000 .apps.internal:8000 xapps.internal:8000 a.apps.internal:7999 a.apps.internal:9000 a..apps.internal:8000 a/b.apps.internal:8000 a%.apps.internal:8000 -a.apps.internal:8000 unix//a.apps.internal:8000 10.0.0.1:8000",
		},
		{
			patterns: "*:80",
			permits:  "web:80 WEB.:80 127.1:80=127.0.0.1:80 [fe80::1%eth0]:80 bücher.example:80 1.2.3.4.5:80",
			refuses:  "web:81 :80 web:0 web:65536 web:http web:+80 web: a/b:80 [a/b:22]:80 [a:22]:80 a@b:80 a?b:80 a#b:80 a%2fb:80 a\\b:80 web%eth0:80",
		},
		{patterns: "web:*", permits: "web:1 web:65535", refuses: "web:0 db:1 web:65536"},
		{patterns: "*:*", permits: "web:1 [::1]:2", refuses: "unix:/run/a.sock"},
		{patterns: "xn--bcher-kva.example:80", permits: "XN--bcher-kva.example:80=xn--bcher-kva.example:80", refuses: "bücher.example:80"},
		{patterns: "kiosk.internal:80", refuses: "\u212aiosk.internal:80 kiosk.internal\u3002:80 ｋiosk.internal:80"}, //nolint:gosmopolitan // as clients may write them
		{
			patterns: "unix//run/app.sock unix//run/apps/web-*",
			permits:  "unix:/run/app.sock unix:/run//app.sock=/run/app.sock unix:/run/x/../app.sock=/run/app.sock unix:/run/apps/web-1.sock",
			refuses:  "unix:/run/app.sock2 unix:run/app.sock unix:/run/apps/web-/../../x unix:/run/apps/web- unix:/run/apps/web-1/x unix:/run/APP.sock app.sock:80 unix:@app unix:/run/app.sock\x00",
		},
		{patterns: "web:80 db:5432", permits: "web:80 db:5432", refuses: "web:5432 db:80"},
		{patterns: "", permits: "web:80 127.1:80 unix:/run/../x nonsense"},
	} {
		list, err := Parse(strings.Fields(tt.patterns))
		if err != nil {
			t.Error(err)
			continue
		}
		for target := range strings.FieldsSeq(tt.permits) {
			network, address, want := split(target)
			if dial, ok := list.Permit(network, address); !ok || dial != want {
				t.Errorf("%s: %q is dialed as %q (%t), want %q", tt.patterns, address, dial, ok, want)
			}
		}
		for target := range strings.FieldsSeq(tt.refuses) {
			network, address, _ := split(target)
			if dial, ok := list.Permit(network, address); ok {
				t.Errorf("%s: %q is permitted, as %q", tt.patterns, address, dial)
			}
		}
	}

	all, err := Parse([]string{"*:*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"a b:80", "a\x00.internal:80", "a\nb:80", "web\t:80"} {
		if _, ok := all.Permit("tcp", address); ok {
			t.Errorf("%q is permitted", address)
		}
	}
}

// split takes "unix:/path" or "host:port" apart, with what stands after =.
func split(target string) (network, address, want string) {
	network, address = "tcp", target
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		network, address = "unix", path
	}
	address, want, ok := strings.Cut(address, "=")
	if !ok {
		want = address
	}
	return network, address, want
}

func TestParseErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		"web":                      "no port; write host:port, or host:* for any port",
		"":                         "no port",
		":80":                      "no host",
		"[]:80":                    "brackets are for IPv6",
		"*":                        "write *:* for any host and port",
		"any":                      "leave the option out",
		"http://web:80":            "a URL; write host:port",
		"web:http":                 `port "http" is neither a number`,
		"web:0":                    `port "0" is neither`,
		"web:65536":                `port "65536" is neither`,
		"web:80-":                  `port "80-" is neither`,
		"web:90-80":                "write 80-90",
		"web:80,443":               `port "80,443" is neither`,
		"fd00::1:80":               "IPv6 stands in brackets",
		"fd00::/8:443":             "IPv6 stands in brackets",
		"[10.0.0.0/8]:80":          "brackets are for IPv6",
		"[web]:80":                 "brackets are for IPv6",
		"127.1:80":                 "another spelling of an address; write 127.0.0.1",
		"010.0.0.1:80":             "write 8.0.0.1",
		"10.0.0:80":                "write 10.0.0.0",
		"10.0.0.256:80":            "neither a name, nor an address",
		"10.0.0.5/8:80":            "write 10.0.0.0/8, or the address alone",
		"10.0.0.0/33:80":           "is not a network",
		"10/8:80":                  "is not a network",
		"[::ffff:10.0.0.0/104]:80": "write it as one",
		"tcp/web:80":               "is not a network",
		"web-*:80":                 "a * is any host",
		"*.*.internal:80":          "a * is any host",
		"*.:80":                    "neither a name",
		"*.0.0.1:80":               "neither a name",
		"*.10:80":                  "neither a name",
		"a..b:80":                  "neither a name",
		"a b:80":                   "neither a name",
		"bücher.example:80":        "as in xn--bcher-kva.example",
		"unix/run/app.sock":        "not an absolute path; write unix//path",
		"unix//run/../app.sock":    "write unix//app.sock",
		"unix//run/":               "write unix//run",
		"unix//":                   "not the plain path",
		"unix//run/*.sock":         "a * stands at the end",
		"unix//run/a\n":            "control character",
	} {
		_, err := Parse([]string{"ok:80", pattern})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got error %v, want %q", pattern, err, want)
		}
	}
}

func TestDeniedError(t *testing.T) {
	for want, err := range map[string]error{
		`tunnel "prod": target "web:80" is not permitted by permit_open`:      Deny("prod", "tcp", "web:80"),
		`tunnel "prod": target "unix//run/a" is not permitted by permit_open`: Deny("prod", "unix", "/run/a"),
		`tunnel "prod": target "a\nb:80" is not permitted by permit_open`:     Deny("prod", "tcp", "a\nb:80"),
	} {
		if got := err.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// FuzzPermit: what is permitted is dialed in a way that is permitted as well,
// and stays as it is; and what a pattern is parsed to can be asked for
// anything.
func FuzzPermit(f *testing.F) {
	f.Add("web.internal:80", "WEB.internal.:80")
	f.Add("10.0.0.0/8:*", "10.1:80")
	f.Add("[fd00::/8]:443", "[::ffff:127.0.0.1]:80")
	f.Add("*.internal:80-90", "a.internal:85")
	f.Add("*:80", "[fe80::1%x]:80")
	f.Add("unix//run/*", "/run/../run/a")
	f.Fuzz(func(t *testing.T, pattern, address string) {
		list, err := Parse([]string{pattern})
		if err != nil {
			return
		}
		for _, network := range []string{"tcp", "unix"} {
			dial, ok := list.Permit(network, address)
			if !ok {
				continue
			}
			if again, ok := list.Permit(network, dial); !ok || again != dial {
				t.Errorf("%s: %q is dialed as %q, but that as %q (%t)", pattern, address, dial, again, ok)
			}
			if (network == "unix") != strings.HasPrefix(pattern, "unix/") {
				t.Errorf("%s: permits the %s target %q", pattern, network, address)
			}
		}
	})
}
