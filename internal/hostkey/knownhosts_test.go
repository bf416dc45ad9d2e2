package hostkey

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestLookupNames(t *testing.T) {
	for _, test := range []struct {
		address, alias string
		want           hostNames
	}{
		{"B.Example:22", "", hostNames{host: "b.example", name: "b.example"}},
		{"B.Example:2222", "", hostNames{host: "b.example", name: "[b.example]:2222", bare: "b.example"}},
		{"[FE80::1]:22", "", hostNames{host: "fe80::1", name: "fe80::1"}},
		{"[::1]:2222", "", hostNames{host: "::1", name: "[::1]:2222", bare: "::1"}},
		{"10.0.0.1:2222", "Prod", hostNames{host: "prod", name: "prod"}},
	} {
		if got := lookupNames(test.address, test.alias); got != test.want {
			t.Errorf("lookupNames(%q, %q) = %+v, want %+v", test.address, test.alias, got, test.want)
		}
	}
}

// sources returns where the keys of one kind are written, for comparison.
func sources(keys []knownKey) string {
	var list []string
	for _, k := range keys {
		list = append(list, strings.TrimPrefix(k.source, "kh:"))
	}
	return strings.Join(list, " ")
}

func TestKnownHosts(t *testing.T) {
	foreign := func(kind string) string {
		return base64.StdEncoding.EncodeToString(append(wireString([]byte(kind)), wireString([]byte("key"))...))
	}
	key := sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1)))
	for _, test := range []struct {
		name, file, address, alias string
		keys, authorities, revoked string // line numbers
		bad                        string
	}{
		{name: "plain", file: "b.example KEY", address: "b.example:22", keys: "1"},
		{name: "other host", file: "c.example KEY", address: "b.example:22"},
		{name: "case", file: "B.Example KEY", address: "b.eXample:22", keys: "1"},
		{name: "list", file: "a.example,b.example,10.0.0.1 KEY a comment\n", address: "b.example:22", keys: "1"},
		{name: "comments and blanks", file: "# b.example KEY\n\n  \t\n  b.example\tKEY  # c\r\n", address: "b.example:22", keys: "4"},
		{name: "several", file: "b.example KEY\nx KEY\nb.example KEY", address: "b.example:22", keys: "1 3"},
		{name: "wildcard", file: "*.example KEY", address: "b.example:22", keys: "1"},
		{name: "negated", file: "*.example,!b.example KEY", address: "b.example:22"},
		{name: "negated first", file: "!b.example,*.example KEY", address: "b.example:22"},
		{name: "negated alone", file: "!c.example KEY", address: "b.example:22"},
		{name: "port", file: "[b.example]:2222 KEY", address: "b.example:2222", keys: "1"},
		{name: "other port", file: "[b.example]:2222 KEY", address: "b.example:22"},
		{name: "bare name for a port", file: "b.example KEY", address: "b.example:2222", keys: "1"},
		{name: "port before bare name", file: "b.example KEY\n[b.example]:2222 KEY", address: "b.example:2222", keys: "2"},
		{name: "alias has no bare name", file: "b.example KEY\nprod KEY", address: "b.example:2222", alias: "prod", keys: "2"},
		{name: "star is any port", file: "* KEY", address: "b.example:2222", keys: "1"},
		{name: "IPv6", file: "::1 KEY\n[::1]:2222 KEY", address: "[::1]:2222", keys: "2"},
		{name: "authority", file: "@cert-authority *.example KEY", address: "b.example:22", authorities: "1"},
		{name: "authority of the bare name", file: "@cert-authority b.example KEY\n[b.example]:2222 KEY", address: "b.example:2222", authorities: "1", keys: "2"},
		{name: "tab behind a marker", file: "@cert-authority\t* KEY\n@revoked\t* KEY\n@cert-authority\n", address: "b.example:22", revoked: "2", bad: "1 3"},
		{name: "revoked", file: "@revoked * KEY\nb.example KEY", address: "b.example:22", revoked: "1", keys: "2"},
		{name: "revoked under the bare name", file: "@revoked b.example KEY\n[b.example]:2222 KEY", address: "b.example:2222", revoked: "1", keys: "2"},
		{
			name:    "revocations that cannot be read",
			file:    "@revoked b.example KEY\n@revoked\n@Revoked b.example KEY\n@revoke b.example KEY\n@revoked b.example ssh-ed25519\n@revoked b.example ssh-ed25519 !!!\n@revoked KEY\n@revoked |1|x KEY\n# @revoked\n@unknown b.example KEY\n@revoked * ssh-ed25519 " + foreign("ssh-xmss@openssh.com") + "\n@revoked * ssh-xmss@openssh.com " + foreign("ssh-xmss@openssh.com"),
			address: "b.example:22", revoked: "1", bad: "2! 3! 4! 5! 6! 7! 8! 10 11! 12",
		},
		{
			name: "bad lines do no harm",
			file: "b.example\nb.example ssh-ed25519\nb.example ssh-ed25519 !!!\nb.example ssh-rsa AAAA\n" +
				"@unknown b.example KEY\n@revoked @cert-authority KEY\n|1|x KEY\n|2|YQ==|YQ== KEY\nb.example 1024 35 12345\n@cert-authority b.example ssh-ed25519\n,,, KEY\nb.example KEY",
			address: "b.example:22", keys: "12", bad: "1 2 3 4 5 6! 7 8 9 10 11",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines, bad := parseKnownHosts("kh", []byte(strings.ReplaceAll(test.file, "KEY", key)))
			known := about(lines, lookupNames(test.address, test.alias))
			if got := sources(known.keys); got != test.keys {
				t.Errorf("keys %q, want %q", got, test.keys)
			}
			if got := sources(known.authorities); got != test.authorities {
				t.Errorf("authorities %q, want %q", got, test.authorities)
			}
			if got := sources(known.revoked); got != test.revoked {
				t.Errorf("revoked %q, want %q", got, test.revoked)
			}
			var badLines []string
			for _, b := range bad {
				number := strings.TrimPrefix(b.source, "kh:")
				if b.revokes {
					number += "!"
				}
				badLines = append(badLines, number)
			}
			if got := strings.Join(badLines, " "); got != test.bad {
				t.Errorf("bad lines %q, want %q (%v)", got, test.bad, bad)
			}
		})
	}
}

// TestKnownHostsEncodings: what an editor of Windows has saved is reported, with what
// to do about it. A revocation in it is an error.
func TestKnownHostsEncodings(t *testing.T) {
	t.Parallel()
	line := "b.example " + sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1))) + "\n"
	wide := func(order binary.ByteOrder, bom bool, text string) []byte {
		if bom {
			text = "\ufeff" + text
		}
		var b []byte
		for _, r := range text {
			b = append(b, make([]byte, 2)...)
			order.PutUint16(b[len(b)-2:], uint16(r))
		}
		return b
	}
	for name, c := range map[string]struct {
		data        []byte
		keys        int
		warns, fail string
	}{
		"plain":             {[]byte(line), 1, "", ""},
		"CRLF":              {[]byte(strings.ReplaceAll(line+"\n"+line, "\n", "\r\n")), 2, "", ""},
		"BOM":               {[]byte("\ufeff" + line + line), 1, "known_hosts line kh:1 is skipped: it begins with a byte order mark", ""},
		"BOM, two names":    {[]byte("\ufeffc.example," + line), 1, "known_hosts line kh:1 is skipped for its first name: it begins with a byte order mark; run sed -i '1s/^\\xEF\\xBB\\xBF//' kh", ""},
		"BOM, comment":      {[]byte("\ufeff# hosts\n" + line), 1, "known_hosts line kh:1 is skipped: it begins with a byte order mark", ""},
		"BOM, revocation":   {[]byte("\ufeff@revoked " + line), 0, "", "known_hosts line kh:1 is to revoke a key and cannot be read: it begins with a byte order mark"},
		"BOM, other":        {[]byte("\ufeff@revoked c" + line), 0, "known_hosts line kh:1 is skipped: it begins with a byte order mark", ""},
		"UTF-16LE":          {wide(binary.LittleEndian, true, line), 0, "known_hosts kh is skipped: it is UTF-16", ""},
		"UTF-16BE":          {wide(binary.BigEndian, true, line), 0, "known_hosts kh is skipped: it is UTF-16", ""},
		"UTF-16LE, no mark": {wide(binary.LittleEndian, false, line), 0, "known_hosts kh is skipped: it is UTF-16", ""},
		"UTF-16BE, no mark": {wide(binary.BigEndian, false, line), 0, "known_hosts kh is skipped: it is UTF-16", ""},
		"UTF-16, revoked":   {wide(binary.LittleEndian, true, line+"@revoked "+line), 0, "", "known_hosts kh is to revoke a key and cannot be read: it is UTF-16"},
		"empty":             {nil, 0, "", ""},
	} {
		cfg := &Config{Address: "b.example:22", KnownHosts: []string{filepath.Join(t.TempDir(), "kh")}}
		sshtest.Write(t, cfg.KnownHosts[0], string(c.data))
		shown := func(s string) string { return strings.ReplaceAll(s, cfg.KnownHosts[0], "kh") }
		h, warnings, err := read(cfg)
		if c.fail != "" {
			if err == nil || !strings.Contains(shown(err.Error()), c.fail) {
				t.Errorf("%s: got %v, want %q", name, err, c.fail)
			}
			continue
		}
		if err != nil || len(h.known.keys) != c.keys {
			t.Errorf("%s: %d keys, %v", name, len(h.known.keys), err)
		}
		if got := shown(strings.Join(warnings, "\n")); !strings.HasPrefix(got, c.warns) || (got == "") != (c.warns == "") {
			t.Errorf("%s: warnings %q, want %q", name, got, c.warns)
		}
	}
}

// TestBadLineIsAbout: a revocation that cannot be read is an error for the hosts that
// it may be about.
func TestBadLineIsAbout(t *testing.T) {
	t.Parallel()
	names := lookupNames("b.example:2222", "")
	for line, want := range map[string]bool{
		"@revoked b.example ssh-ed25519 AAAA":        true,
		"@Revoked [b.example]:2222 ssh-ed25519 AAAA": true,
		"@revoked *,!c.example ssh-ed25519 AAAA":     true,
		"@revoked |1|x ssh-ed25519 AAAA":             true,
		"@revoked ssh-ed25519 AAAA":                  true,
		"@revoked":                                   true,
		"@revoked c.example ssh-ed25519 AAAA":        false,
		"@revoked [b.example]:22 ssh-ed25519 AAAA":   false,
		"@revoked *,!*b.example* ssh-ed25519 AAAA":   false,
	} {
		_, bad := parseKnownHosts("kh", []byte(line))
		if len(bad) != 1 || bad[0].isAbout(names) != want {
			t.Errorf("%q: %+v, want %v", line, bad, want)
		}
	}
}

// TestKnownHostsAgreesWithOpenSSH asks ssh-keygen -F about the same lines and
// names, plain and hashed by ssh-keygen -H.
func TestKnownHostsAgreesWithOpenSSH(t *testing.T) {
	keygen := sshtest.Program(t, "ssh-keygen")
	key := sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1)))
	patterns := []string{
		"b.example", "B.EXAMPLE", "b.example,c.example", "*.example", "*.EXAMPLE,!b.example", "!b.example,*", "!c.example",
		"*", "b.?xample", "[b.example]:2222", "[b.example]:22", "[*.example]:2222", "[b.example]:*", "*:2222", "::1", "[::1]:2222", "10.0.0.*",
	}
	names := []string{"b.example", "c.example", "[b.example]:2222", "[c.example]:2222", "::1", "[::1]:2222", "10.0.0.7", "[10.0.0.7]:22"}
	for i, pattern := range patterns {
		for _, hashed := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), fmt.Sprint("kh", i))
			sshtest.Write(t, path, pattern+" "+key+"\n")
			if hashed {
				// It leaves patterns as they are, and fails where there is nothing else.
				_ = exec.CommandContext(t.Context(), keygen, "-H", "-f", path).Run()
			}
			for _, name := range names {
				want := exec.CommandContext(t.Context(), keygen, "-F", name, "-f", path).Run() == nil
				lines, bad := readLines(t, path)
				if len(bad) > 0 {
					t.Fatalf("%q: %v", pattern, bad)
				}
				got := false
				for _, l := range lines {
					got = got || l.matches(name)
				}
				if got != want {
					t.Errorf("pattern %q (hashed %v), name %q: %v, ssh-keygen says %v", pattern, hashed, name, got, want)
				}
			}
		}
	}
}

func readLines(t *testing.T, path string) ([]knownLine, []badLine) {
	t.Helper()
	data, err := readfile.Read("known_hosts", path)
	if err != nil {
		t.Fatal(err)
	}
	return parseKnownHosts(path, data)
}

func FuzzKnownHosts(f *testing.F) {
	key := sshtest.AuthorizedKey(sshtest.PublicOf(f, sshtest.EdKey(1)))
	for _, s := range []string{
		"b.example " + key, "*,!b.* " + key, "@revoked * " + key, "|1|YWJj|ZGVm " + key, "|1||| " + key,
		"@cert-authority [b]:2222 " + key + "\n\x00\r\n# x", "@ a b", "@cert-authority x", ", " + key,
	} {
		f.Add(s, "b.example:2222", "")
	}
	f.Fuzz(func(t *testing.T, file, address, alias string) {
		lines, bad := parseKnownHosts("f", []byte(file))
		if n := len(lines) + len(bad); n > strings.Count(file, "\n")+1 {
			t.Fatalf("%d results of %d lines", n, strings.Count(file, "\n")+1)
		}
		names := lookupNames(address, alias)
		known := about(lines, names)
		if n := len(known.keys) + len(known.authorities) + len(known.revoked); n > len(lines) {
			t.Fatalf("%d keys of %d lines", n, len(lines))
		}
		for _, l := range lines {
			if l.key == nil || l.source == "" || len(l.patterns) == 0 {
				t.Fatalf("incomplete line %+v", l)
			}
			if sshsyntax.MatchAny([]string{"!" + names.name, "*"}, names.name) && !strings.ContainsAny(names.name, "*?") {
				t.Fatalf("a negated name matched")
			}
		}
	})
}
