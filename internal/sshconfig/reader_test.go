package sshconfig

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// resolved reads a file with this content, as a user with a home of their own.
func resolved(t *testing.T, config, alias string, written Written) (*Host, []string, error) {
	t.Helper()
	var warnings []string
	dir := t.TempDir()
	r := &Reader{
		Home: filepath.Join(dir, "home"), User: "caddy", UID: "42", Hostname: "machine.local", System: filepath.Join(dir, "etc"),
		Warn: func(w string) { warnings = append(warnings, strings.ReplaceAll(w, dir, "")) },
	}
	h, err := r.Resolve(alias, writeFile(t, filepath.Join(dir, "config"), config), written)
	return h, warnings, err
}

func TestPathsAndTokens(t *testing.T) {
	t.Setenv("SSH_CONFIG_TEST", "/e%h")
	h, warnings, err := resolved(t, `
		Host web
			HostName %h.example.com
			User deploy
			Port 2222
			HostKeyAlias alias
			ProxyJump j@edge
			IdentityFile ~/.ssh/%n-%h-%p-%r-%u-%i-%l-%L-%k-%j-%%
			IdentityFile ${SSH_CONFIG_TEST}/id
			CertificateFile %d/cert
			IdentityAgent $SSH_CONFIG_TEST
			RevokedHostKeys ~/%C
			GlobalKnownHostsFile ~/taken-%as-it-is
	`, "web", Written{})
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Dir(filepath.Dir(h.IdentityFiles[0]))
	for _, c := range []struct{ what, got, want string }{
		{"identity file", h.IdentityFiles[0], home + "/.ssh/web-web.example.com-2222-deploy-caddy-42-machine.local-machine-alias-edge-%"},
		{"identity file with a variable", h.IdentityFiles[1], "/e%h/id"},
		{"certificate", h.CertificateFiles[0], home + "/cert"},
		{"agent", h.IdentityAgent, "/e%h"},
		// printf machine.localweb.example.com2222deployedge | sha1sum
		{"hash", filepath.Base(h.RevokedHostKeys[0]), "b4051135a33873719f24d3d9e63cb4793b0cb324"},
		{"global known hosts", h.GlobalKnownHostsFiles[0], "~/taken-%as-it-is"},
		{"jump", h.Jumps[0].User + " " + h.Jumps[0].HostName, "j edge"},
	} {
		if c.got != c.want {
			t.Errorf("the %s is %q, want %q", c.what, c.got, c.want)
		}
	}
	if len(warnings) > 0 {
		t.Errorf("warnings: %q", warnings)
	}
}

// TestWritten checks that what the caller says counts before the file, and for
// what blocks and tokens are about.
func TestWritten(t *testing.T) {
	const config = `
		Match user me host fe80::1%*
			IdentityFile /%h/%p/%r
		Host *
			HostName other
			Port 1
			User %n
			ProxyJump j
			ProxyCommand nc
	`
	h, _, err := resolved(t, config, "a", Written{HostName: "fe80::1%eth0", Port: 7, User: "me", ProxyJump: "none"})
	if err != nil {
		t.Fatal(err)
	}
	if h.HostName != "fe80::1%eth0" || h.Port != 7 || h.User != "me" || h.ProxyCommand != "" || len(h.Jumps) > 0 || !slices.Equal(h.IdentityFiles, []string{"/fe80::1%eth0/7/me"}) {
		t.Errorf("got %+v", h)
	}
	if h, _, err = resolved(t, config, "j", Written{ProxyJump: "none"}); err != nil || h.User != "j" || h.HostName != "other" {
		t.Errorf("got %+v, %v", h, err)
	}
}

// TestNothingIsExecuted checks that what could be is neither executed nor
// matches, and is named where it would have decided.
func TestNothingIsExecuted(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "executed")
	h, warnings, err := resolved(t, `
		Match exec "touch `+mark+`"
			User one
		Match !exec "touch `+mark+`"
			User two
		Match host other exec "touch `+mark+`"
			User three
		Match exec true final
			User four
		Match exec=true host a
			User five
		Host other
			Match exec true
		Host *
			KnownHostsCommand touch `+mark+`
			ProxyCommand touch `+mark+`
			LocalCommand touch `+mark+`
	`, "a", Written{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was executed")
	}
	if h.User != "" || h.ProxyCommand == "" {
		t.Errorf("got %+v", h)
	}
	want := []string{
		"/config:2: Match exec is ignored, with what it decides on: " + subprocess.ErrForbidden.Error(),
		"/config:15: KnownHostsCommand is ignored: " + subprocess.ErrForbidden.Error(),
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("warnings are\n%q\nwant\n%q", warnings, want)
	}
}

// TestWarnsOnce checks what is logged, and that it is logged once, however many
// hosts and lines it concerns.
func TestWarnsOnce(t *testing.T) {
	_, warnings, err := resolved(t, `
		Host *
			PubkeyAuthentication yes
			PubkeyAuthentication no
			CanonicalizeHostname yes
			CanonicalDomains example.com
			HostbasedAuthentication true
			GSSAPIAuthentication yes
			GSSAPIAuthentication no
			VerifyHostKeyDNS false
			IgnoreUnknown Quiet*,x
			QuietPlease yes
			ForwardX11 yes
		Host !c *
			ProxyJump c
	`, "a", Written{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`/config:8: GSSAPIAuthentication is not supported and is ignored`,
		`/config:7: HostbasedAuthentication is not supported and is ignored`,
		`/config:5: CanonicalizeHostname does not look up "c", and the name stays as it is; write the whole name as HostName`,
	}
	if !slices.Equal(warnings, want) {
		t.Errorf("warnings are\n%q\nwant\n%q", warnings, want)
	}
}

// TestNotShown: what is no keyword is not shown where its argument is missing. It
// may be a line of a file that is none of ssh_config.
func TestNotShown(t *testing.T) {
	for _, line := range []string{"hunter2", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU", "hunter2="} {
		if _, err := parseLine(line); err == nil || err.Error() != "an unknown keyword has no argument" {
			t.Errorf("%q: %v", line, err)
		}
	}
	for _, line := range []string{"Match", "Port", "ControlPath", "Prot", "Port:22"} {
		if _, err := parseLine(line); err == nil || !strings.Contains(err.Error(), " has no argument") {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestJumpsRefused(t *testing.T) {
	for config, want := range map[string]string{
		"Host *\n ProxyJump b":                              ":2: ProxyJump: goes in a circle: a -> b -> b; exclude the jump host from it, as in Host * !b",
		"Host a\n ProxyJump b\nHost b\n ProxyJump a":        ":4: ProxyJump: goes in a circle: a -> b -> a; exclude",
		"Host *\n ProxyJump x%n":                            ":2: ProxyJump: goes in a circle: a -> xa -> xxa",
		"ProxyJump %z":                                      ":1: ProxyJump: unknown token %z",
		"Host a\n ProxyJump b\nHost b\n HostName %n":        ":4: HostName: unknown token %n",
		"Host a\n ProxyJump b\nHost b\n IdentityFile %":     ":4: IdentityFile: a % at the end",
		"Host a\n ProxyJump -oProxyCommand=x":               `alias "-oProxyCommand=x" begins with a hyphen`,
		"Host a\n ProxyJump $(x)":                           `alias "$(x)" has a '$' in it`,
		"RefuseConnection use the other one, please":        ":1: RefuseConnection: use the other one, please",
		"Host a\n ProxyJump b\nHost b\n RefuseConnection x": ":4: RefuseConnection: x",
	} {
		if _, _, err := resolved(t, config, "a", Written{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", config, err, want)
		}
	}
	for _, alias := range []string{"", "-a", "a b", "u@a", "a\n", "a;b"} {
		if _, _, err := resolved(t, "", alias, Written{}); err == nil {
			t.Errorf("alias %q is taken", alias)
		}
	}
}

// TestFiles checks which files are read where none is named, and what their
// relative paths are relative to.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	r := &Reader{Home: filepath.Join(dir, "home"), User: "caddy", System: filepath.Join(dir, "etc")}
	if _, exist := r.DefaultFiles(); exist {
		t.Error("there are default files")
	}
	if h, err := r.Resolve("a", "", Written{}); err != nil || h.HostName != "a" || h.Port != 22 {
		t.Errorf("without a file: %+v, %v", h, err)
	}
	for _, sub := range []string{"home/.ssh/conf.d/dir", "etc/conf.d", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SSH_CONFIG_TEST", "conf.d")
	for name, content := range map[string]string{
		"home/.ssh/config":     "Include conf.d/* ~/.ssh/more\nIdentityFile /user",
		"home/.ssh/conf.d/one": "IdentityFile /user/one",
		"home/.ssh/more":       "IdentityFile /user/more",
		"etc/ssh_config":       "Include conf.d/* ${SSH_CONFIG_TEST}/%n\nIdentityFile /system",
		"etc/conf.d/one":       "IdentityFile /system/one",
		"etc/conf.d/two":       "User second",
		"other/config":         "Include conf.d/one ${SSH_CONFIG_NOT_SET}/x\nIdentityFile /other",
	} {
		writeFile(t, filepath.Join(dir, name), content)
	}
	for file, want := range map[string][]string{
		"":                                    {"/user/one", "/user/more", "/user", "/system/one", "/system"},
		filepath.Join(dir, "other", "config"): {"/user/one", "/other"},
	} {
		h, err := r.Resolve("a", file, Written{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(h.IdentityFiles, want) {
			t.Errorf("%q: %q, want %q", file, h.IdentityFiles, want)
		}
	}
	if paths, exist := r.DefaultFiles(); !exist || len(paths) != 2 {
		t.Errorf("default files: %q, %v", paths, exist)
	}

	r = &Reader{User: "caddy", System: r.System}
	if h, err := r.Resolve("a", "", Written{}); err != nil || !slices.Equal(h.IdentityFiles, []string{"/system/one", "/system"}) {
		t.Errorf("without a home: %+v, %v", h, err)
	}
	if _, err := r.Resolve("a", filepath.Join(dir, "home/.ssh/more"), Written{}); err != nil {
		t.Errorf("an absolute file without a home: %v", err)
	}
	_, err := r.Resolve("a", filepath.Join(dir, "absent "), Written{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `absent "`) { // the blank is why
		t.Errorf("an absent file: %v", err)
	}
	if _, err := r.Resolve("a", dir, Written{}); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := r.Resolve("a", writeFile(t, filepath.Join(dir, "bin"), "Port 1\nUser \x00"), Written{}); err == nil || !strings.Contains(err.Error(), "bin:2: User has no argument") {
		t.Errorf("a binary file: %v", err)
	}
	if _, err := r.Resolve("a", os.DevNull, Written{}); err != nil {
		t.Errorf("%s: %v", os.DevNull, err)
	}
}

// TestOthersMayWrite checks that files that are found rather than named are
// refused if others could have written them.
func TestOthersMayWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are access control lists there")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	open := writeFile(t, filepath.Join(dir, ".ssh", "config"), "Port 3")
	if err := os.Chmod(open, 0o664); err != nil {
		t.Fatal(err)
	}
	including := writeFile(t, filepath.Join(dir, "including"), "Include "+open)
	for file, ok := range map[string]bool{"": false, including: false, open: true} {
		r := &Reader{Home: dir, System: dir}
		_, err := r.Resolve("a", file, Written{})
		if ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

// TestOthersMayWriteKnownFile: a file that was read for somebody who named it is
// still refused where it is found, and where it is included.
func TestOthersMayWriteKnownFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions are access control lists there")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	found := writeFile(t, filepath.Join(dir, ".ssh", "config"), "Port 3")
	including := writeFile(t, filepath.Join(dir, "including"), "Include "+found)
	if err := os.Chmod(found, 0o666); err != nil {
		t.Fatal(err)
	}
	r := &Reader{Home: dir, System: dir}
	for range 2 {
		if _, err := r.Resolve("a", found, Written{}); err != nil {
			t.Fatalf("named: %v", err)
		}
		for _, file := range []string{"", including} {
			if _, err := r.Resolve("a", file, Written{}); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
				t.Errorf("%q: got %v", file, err)
			}
		}
	}
}

// TestKeysInPlaceOfValues: what has a key in it is not shown, in whatever keyword it
// stands or what a variable brings there.
func TestKeysInPlaceOfValues(t *testing.T) {
	const secret = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW"
	t.Setenv("SSH_CONFIG_TEST_KEY", "-----BEGIN OPENSSH PRIVATE KEY-----\n"+secret+"\n-----END OPENSSH PRIVATE KEY-----\n")
	taken, _ := Keywords()
	lines := []string{"Host a !", "Match host ", "Match ", "Include /x "}
	for _, keyword := range taken {
		if keyword != "proxycommand" && keyword != "knownhostscommand" { // which is for a program, and not shown
			lines = append(lines, keyword+" ")
		}
	}
	for _, line := range lines {
		h, warnings, err := resolved(t, line+secret, "a", Written{})
		if err == nil {
			t.Errorf("%s: taken as %+v", line, h)
		} else if text := err.Error() + strings.Join(warnings, ""); strings.Contains(text, secret[20:]) || !strings.Contains(text, "private key") {
			t.Errorf("%s: %s", line, text)
		}
	}
	for _, line := range []string{
		"IdentityFile ${SSH_CONFIG_TEST_KEY}", "CertificateFile ${SSH_CONFIG_TEST_KEY}", "IdentityAgent $SSH_CONFIG_TEST_KEY", "IdentityAgent ${SSH_CONFIG_TEST_KEY}",
		"UserKnownHostsFile /x ${SSH_CONFIG_TEST_KEY}", "RevokedHostKeys ${SSH_CONFIG_TEST_KEY}", "User ${SSH_CONFIG_TEST_KEY}",
	} {
		if _, _, err := resolved(t, line, "a", Written{}); err == nil || strings.Contains(err.Error(), secret[20:]) || !strings.Contains(err.Error(), "BEGIN OPENSSH") {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, warnings, err := resolved(t, "Include ${SSH_CONFIG_TEST_KEY}", "a", Written{}); err != nil || strings.Contains(strings.Join(warnings, ""), secret[20:]) {
		t.Errorf("Include: %v, %q", err, warnings)
	}
	// What says nothing about a connection may have anything in it.
	if _, _, err := resolved(t, "SetEnv KEY="+secret, "a", Written{}); err != nil {
		t.Error(err)
	}
}

func TestAgent(t *testing.T) {
	t.Setenv("SSH_CONFIG_TEST", "/sock")
	for written, want := range map[string]string{
		"none": "none", "$SSH_CONFIG_NOT_SET": "none", "SSH_AUTH_SOCK": "SSH_AUTH_SOCK", "$SSH_AUTH_SOCK": "SSH_AUTH_SOCK", "${SSH_AUTH_SOCK}": "SSH_AUTH_SOCK",
		"$SSH_CONFIG_TEST": "/sock", "${SSH_CONFIG_TEST}/%n": "/sock/a", "/plain": "/plain",
	} {
		h, _, err := resolved(t, "IdentityAgent "+written, "a", Written{})
		if err != nil || h.IdentityAgent != want {
			t.Errorf("%q: %+v, %v", written, h, err)
		}
	}
}

func TestPreferredAuthentications(t *testing.T) {
	t.Parallel()
	h, warnings, err := resolved(t, "PreferredAuthentications publickey,password\nPreferredAuthentications none", "a", Written{})
	if err != nil || len(warnings) > 0 || !slices.Equal(h.PreferredAuthentications, []string{"publickey", "password"}) {
		t.Errorf("%+v, %q, %v", h, warnings, err)
	}
}

// TestNoPublicKeys: PubkeyAuthentication no leaves no key to offer.
func TestNoPublicKeys(t *testing.T) {
	t.Parallel()
	for written, none := range map[string]bool{"no": true, "No": true, "false": true, "yes": false, "unbound": false} {
		h, warnings, err := resolved(t, "PubkeyAuthentication "+written+"\nIdentityFile /id\nCertificateFile /id-cert.pub", "a", Written{})
		if err != nil || len(warnings) > 0 {
			t.Fatal(err, warnings)
		}
		if got := h.NoIdentityFiles && h.IdentityAgent == "none" && len(h.IdentityFiles)+len(h.CertificateFiles) == 0; got != none {
			t.Errorf("%s: %+v", written, h)
		}
	}
}

func TestAlgorithms(t *testing.T) {
	defaults, broken := []string{"aes-gcm", "aes-ctr", "chacha"}, []string{"aes-cbc", "3des"}
	for list, want := range map[string][2][]string{
		"chacha,aes-gcm":  {{"chacha", "aes-gcm"}, nil},
		"+3des":           {{"aes-gcm", "aes-ctr", "chacha", "3des"}, nil},
		"+aes-ctr":        {{"aes-gcm", "aes-ctr", "chacha"}, nil},
		"^chacha,aes-ctr": {{"chacha", "aes-ctr", "aes-gcm"}, nil},
		"-aes-*":          {{"chacha"}, nil},
		"-*":              {nil, nil},
		"aes-*":           {{"aes-gcm", "aes-ctr"}, nil}, // not the broken one
		"+aes-cbc":        {{"aes-gcm", "aes-ctr", "chacha", "aes-cbc"}, nil},
		"new,chacha,x*":   {{"chacha"}, {"new", "x*"}},
		"^new":            {{"aes-gcm", "aes-ctr", "chacha"}, {"new"}},
	} {
		names, unknown := Algorithms(list, defaults, broken)
		if !slices.Equal(names, want[0]) || !slices.Equal(unknown, want[1]) {
			t.Errorf("%q: %q, unknown %q; want %q", list, names, unknown, want)
		}
	}
}

func TestWhere(t *testing.T) {
	h, _, err := resolved(t, "Host a\n\n Ciphers aes128-ctr", "a", Written{})
	if err != nil {
		t.Fatal(err)
	}
	if where := h.Where("Ciphers"); !strings.HasSuffix(where, "config:3") {
		t.Errorf("Ciphers are at %q", where)
	}
	if where := h.Where("MACs"); where != "" {
		t.Errorf("MACs are at %q", where)
	}
}

// FuzzResolve checks that no file crashes the reader, that what it returns can
// be used, and that it says where an error is.
func FuzzResolve(f *testing.F) {
	for _, c := range oracleConfigs {
		f.Add(c.config, "a")
	}
	f.Add("Match exec \"x\" !host=a,b user ,\nUser ${", "b")
	f.Fuzz(func(t *testing.T, config, alias string) {
		if strings.Contains(strings.ToLower(config), "include") {
			return // not with what this machine happens to have
		}
		h, warnings, err := resolved(t, config, alias, Written{})
		if err != nil {
			if checkAlias(alias) == nil && !strings.Contains(err.Error(), "/config:") && !strings.Contains(err.Error(), "alias") {
				t.Errorf("the error does not tell where: %v", err)
			}
			return
		}
		for _, w := range warnings {
			if !strings.HasPrefix(w, "/config:") {
				t.Errorf("the warning does not tell where: %s", w)
			}
		}
		if h.Port < 1 || h.Port > 65535 || h.HostName == "" && h.Where("HostName") == "" || len(h.Jumps) > maxJumps+1 {
			t.Errorf("got %+v", h)
		}
		again, _, err := resolved(t, config, alias, Written{})
		if err != nil || again.HostName != h.HostName || !reflect.DeepEqual(again.Jumps == nil, h.Jumps == nil) {
			t.Errorf("got %+v, %v; and before %+v", again, err, h)
		}
	})
}
