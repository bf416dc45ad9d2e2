package hostport

import (
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	for _, tt := range []struct {
		s            string
		at           Side
		want, refuse string
		loopback     bool
	}{
		{s: "5432", want: "127.0.0.1:5432", loopback: true},
		{s: ":5432", want: "127.0.0.1:5432", loopback: true},
		{s: "tcp/:5432", want: "127.0.0.1:5432", loopback: true},
		{s: "tcp6/:5432", want: "tcp6/[::1]:5432", loopback: true},
		{s: "localhost:5432", want: "localhost:5432", loopback: true},
		{s: "127.0.0.2:05432", want: "127.0.0.2:5432", loopback: true},
		{s: "[::1]:5432", want: "[::1]:5432", loopback: true},
		{s: "[::ffff:127.0.0.1]:5432", want: "[::ffff:127.0.0.1]:5432", loopback: true},
		{s: "*:5432", want: ":5432"},
		{s: "0.0.0.0:5432", want: "0.0.0.0:5432"},
		{s: "[::]:5432", want: "[::]:5432"},
		{s: "localhost.example.com:5432", want: "localhost.example.com:5432"},
		{s: "unix//run/x.sock", want: "unix//run/x.sock", loopback: true},
		{s: "unix//run/x.sock|0222", want: "unix//run/x.sock", loopback: true},
		{s: "unix/x.sock", want: "unix/x.sock", loopback: true},
		{s: "LocalHost:5432", want: "localhost:5432", loopback: true},

		{s: "fd/3", want: "fd/3"},
		{s: "fd/0x10", want: "fd/16"},

		{s: "8080", at: Bastion, want: "localhost:8080", loopback: true},
		{s: "LocalHost:8080", at: Bastion, want: "localhost:8080", loopback: true},
		{s: ":8080", at: Bastion, want: "localhost:8080", loopback: true},
		{s: "*:8080", at: Bastion, want: "*:8080"},
		{s: "0.0.0.0:8080", at: Bastion, want: "0.0.0.0:8080"},
		{s: "unix//run/a|b.sock", at: Bastion, want: "unix//run/a|b.sock", loopback: true},

		{s: "", refuse: "no port"},
		{s: "web", refuse: "no port"},
		{s: "my-host", refuse: "no port"},
		{s: "web:", refuse: `port "" is not one`},
		{s: "web:http", refuse: `port "http" is not one`},
		{s: "web:0", refuse: `port "0" is not one`},
		{s: "web:65536", refuse: `port "65536" is not one`},
		{s: "8000-8010", refuse: "one port"},
		{s: "127.0.0.1:8000-8010", refuse: "one port"},
		{s: "::1:80", refuse: "in brackets"},
		{s: "udp/:53", refuse: `network "udp"`},
		{s: "fd/", refuse: `"" is not the number of a file descriptor`},
		{s: "fd/-1", refuse: `"-1" is not the number`},
		{s: "fd/3:80", refuse: `"3:80" is not the number`},
		{s: "fd/4294967296", refuse: "is not the number"},
		{s: "fdgram/3", refuse: "datagrams cannot be forwarded"},
		{s: "fd/3", at: Bastion, refuse: `network "fd"`},
		{s: "unix/", refuse: "no path"},
		{s: "unix//x|9", refuse: "octal"},
		{s: "unix//x|0444", refuse: "not writable"},
		{s: "tcp6/:80", at: Bastion, refuse: `network "tcp6"`},
		{s: "unix/x.sock", at: Bastion, refuse: "absolute path"},
	} {
		a, err := ParseListen(tt.s, tt.at)
		switch {
		case tt.refuse != "":
			if err == nil || !strings.Contains(err.Error(), tt.refuse) {
				t.Errorf("%q: got error %v, want %q", tt.s, err, tt.refuse)
			}
		case err != nil || a.String() != tt.want || a.IsLoopback() != tt.loopback:
			t.Errorf("%q: got %q, loopback %v (%v); want %q, loopback %v", tt.s, a, a.IsLoopback(), err, tt.want, tt.loopback)
		}
	}
}
