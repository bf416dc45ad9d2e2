package sshconfig

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// oracleConfigs are files, and aliases to ask about. INC stands for a directory
// with the files of oracleIncludes.
var oracleConfigs = []struct {
	name, config string
	aliases      string
}{
	{"empty", "", "a A.Example.COM 127.0.0.1 ::1 0:0::2"},
	{"plain", "Host web\n  HostName web.example.com\n  Port 2222\n  User deploy\n  IdentityFile ~/.ssh/web", "web other"},
	{"first value", "Port 1\nPort 2\nHost a\n Port 3\n User x\nHost *\n User y", "a b"},
	{"wildcards", "Host *.example.com\n User w\nHost db?\n User q\nHost a*b*c\n User s\nHost *\n User any", "x.example.com example.com db1 db db12 abc axxbyyc ac acb"},
	{"negation", "Host * !bastion !*.local\n Port 2222\nHost !x\n User never", "web bastion a.local x y"},
	{"case", "HOST Web\n hOsTnAmE Foo.Example.COM\n port 7\nHost web\n Port 8", "Web web WEB"},
	{"equals", "Host=a\nPort=2\nUser = b\nIdentityFile= /x\nHostName =c", "a"},
	{"quotes", "Host \"a\" 'b'\n IdentityFile \"/with space/id\"\n IdentityFile '/single \"quoted\"'\n IdentityFile /esc\\ aped\n IdentityFile \"/in\\\"side\"\n UserKnownHostsFile \"/a b\" /c # comment\n User 'x y'", "a b c"},
	{"comments", "# one\n  # two\nHost a # b\n Port 5 # five\n User x#y", "a b"},
	{"blanks", "\n\t\n  Host\ta\tb  \n\tPort\t\t9 \t\r\n", "a b c"},
	{"accumulate", "Host a\n IdentityFile /1\n CertificateFile /c1\n UserKnownHostsFile /k1\nHost *\n IdentityFile /2\n IdentityFile /1\n CertificateFile /c2\n UserKnownHostsFile /k2 /k3", "a b"},
	{"known hosts", "Host a\n UserKnownHostsFile none\n GlobalKnownHostsFile none\nHost b\n GlobalKnownHostsFile /g1 /g2\n UserKnownHostsFile ~/u1 %d/u2", "a b"},
	{"host key", "Host a\n HostKeyAlias alias-%h\n RevokedHostKeys /r\n StrictHostKeyChecking accept-new\nHost b\n StrictHostKeyChecking off\nHost c\n StrictHostKeyChecking no\nHost d\n StrictHostKeyChecking ask\nHost e\n StrictHostKeyChecking yes", "a b c d e f"},
	{"tokens", "Host a\n HostName %h.example.com\n User deploy\n Port 2200\n UserKnownHostsFile /%%/%d/%h/%i/%k/%L/%l/%n/%p/%r/%u\n IdentityAgent /%h/%n/%p/%r/%u\nHost b\n HostKeyAlias kk\n UserKnownHostsFile /%k/%C", "a b"},
	{"environment", "IdentityAgent ${SSH_CONFIG_TEST}/sock\nUserKnownHostsFile ${SSH_CONFIG_TEST}/%n", "a"},
	{"agent", "Host a\n IdentityAgent none\nHost b\n IdentityAgent SSH_AUTH_SOCK\nHost c\n IdentityAgent ~/sock\n IdentitiesOnly yes", "a b c d"},
	{"times", "Host a\n ServerAliveInterval 1m30s\n ServerAliveCountMax 7\n ConnectTimeout 1h\nHost b\n ServerAliveInterval 5\n ConnectTimeout none\nHost c\n ServerAliveInterval 0\n ConnectTimeout 1w2D", "a b c d"},
	{"rekey", "Host a\n RekeyLimit 1G 1h\nHost b\n RekeyLimit default none\nHost c\n RekeyLimit 512m\nHost d\n RekeyLimit 1.5K 90", "a b c d"},
	{"addresses", "Host a\n BindAddress 127.0.0.1\n AddressFamily inet\nHost b\n AddressFamily INET6\n RequiredRSASize 3072", "a b c"},
	{"match all", "Match all\n Port 5\nHost a\nMatch all\n User x", "a b"},
	{"match host", "Host a\n HostName a.example.com\nMatch host a.example.com\n User after\nMatch host a\n Port 9\nMatch originalhost a\n Port 10", "a a.example.com"},
	{"match host list", "Match host *.prod,!db.prod,web\n User u\nMatch !host *.prod\n Port 7", "a.prod db.prod web other"},
	{"match host case", "Match host WEB\n User u\nMatch host web\n Port 3", "web WEB Web"},
	{"match user", "Host a\n User deploy\nMatch user deploy,admin\n Port 2\nMatch user !deploy,*\n Port 3", "a b"},
	{"match localuser", "Match localuser USER\n Port 2\nMatch !localuser USER\n Port 3", "a"},
	{"match several", "Match host a user root,x originalhost a\n Port 2\nMatch host a user nobody-here\n Port 3\nMatch host a !user nobody-here\n User y", "a b"},
	{"match final", "Host a\n HostName real.example.com\nMatch final host real.example.com\n Port 2\nHost real.example.com\n User r", "a real.example.com b"},
	{"match final all", "Match final all\n Port 4\nHost a\n Port 5\n IdentityFile /x", "a b"},
	{"match not final", "Match !final\n Port 4\nMatch final\n User x", "a"},
	{"match canonical", "Match canonical\n Port 4\nHost a\n User x", "a"},
	{"match quotes", "Match host \"a,b\" user *\n Port 4", "a b c"},
	{"include", "Include INC/first\nHost *\n Port 1", "a b c"},
	{"include glob", "Include INC/*.conf\nUser last", "a b c"},
	{"include in a block", "Host a\n Include INC/plain\nHost *\n User outer", "a b"},
	{"include state", "Host b\n Include INC/hosts\n Port 77\nUser z", "a b c"},
	{"include in match", "Match host b\n Include INC/hosts INC/plain\n", "a b c"},
	{"include quoted", "Include \"INC/with space\"", "a"},
	{"include absent", "Include INC/absent INC/no*\nPort 3", "a"},
	{"include nested", "Include INC/nested\nHost *\n Port 2", "a b"},
	{"jump", "Host a\n ProxyJump bastion\nHost b\n ProxyJump u@h:2222,w@x\nHost c\n ProxyJump none\nHost *\n ProxyCommand nc %h %p", "a b c d"},
	{"jump after command", "Host a\n ProxyCommand nc %h %p\n ProxyJump b\nHost b\n ProxyCommand none\n ProxyJump c\nHost d\n ProxyJump e", "a b d"},
	{"jump nested", "Host inner\n HostName 10.0.0.2\n ProxyJump mid\nHost mid\n HostName mid.internal\n User m\n ProxyJump edge\nHost edge\n HostName edge.example.com\n Port 2222", "inner mid edge"},
	{"jump chain", "Host inner\n ProxyJump me@edge:2222,mid\nHost mid\n Port 4\n ProxyJump other\nHost edge\n User e\nHost *\n IdentityFile ~/.ssh/%h", "inner"},
	{"jump by wildcard", "Host * !bastion\n ProxyJump bastion\nHost bastion\n HostName b.example.com\n User jump", "web bastion"},
	{"jump user", "Match user jumper\n Port 99\nHost in\n ProxyJump jumper@out", "in"},
	{"algorithms", "Host a\n Ciphers aes256-ctr,aes128-ctr\n MACs +hmac-sha1\n KexAlgorithms -*sha1*,diffie-hellman-*\n HostKeyAlgorithms ^ssh-ed25519\n PubkeyAcceptedAlgorithms +ssh-rsa\n CASignatureAlgorithms -ecdsa-*\nHost b\n Ciphers ^aes256-gcm@openssh.com\n MACs -umac-*\n KexAlgorithms ^curve25519-sha256\n HostKeyAlgorithms -*cert*\nHost c\n Ciphers +3des-cbc\n HostKeyAlgorithms ssh-ed25519,rsa-sha2-512,ssh-ed25519", "a b c"},
	{"passed over", "Host a\n ForwardAgent yes\n ControlMaster auto\n ControlPath ~/.ssh/%C\n SendEnv LANG LC_*\n LocalForward 8080 localhost:80\n Compression yes\n LogLevel ERROR\n Port 3", "a"},
	{"ignore unknown", "IgnoreUnknown UseKeychain,Foo*\nHost *\n UseKeychain yes\n FooBar 1 2 3\n Port 3", "a"},
	{"synonyms", "PubkeyAcceptedKeyTypes ssh-ed25519\nIdentityFile2 /x", "a"},
	{"zero bytes", "Port 1\x00\nUser a\x00b c\n\x00HostName x\n# y\x00 z\nIdentityFile /x\n\x00\x00\x00", "a"},
	{"none identity", "IdentityFile none", "a"},
}

var oracleIncludes = map[string]string{
	"first":      "User included\nHost a\n Port 11\nHost b\n Port 12\n",
	"plain":      "Port 33\nUser inner\n",
	"hosts":      "User from-hosts\nHost a\n Port 21\nHost b\n Port 22\nMatch all\n IdentityFile /all\n",
	"1.conf":     "Host a\n Port 41\n",
	"2.conf":     "Host *\n Port 42\n",
	"with space": "Port 55\n",
	"nested":     "Host a\n Include INC/plain\nHost *\n Include INC/first\n",
}

// TestOracle compares what is read with what `ssh -G` prints, for the hosts on
// the way as well.
func TestOracle(t *testing.T) {
	ssh := lookSSH(t)
	dir := t.TempDir()
	for name, content := range oracleIncludes {
		writeFile(t, filepath.Join(dir, name), strings.ReplaceAll(content, "INC", dir))
	}
	t.Setenv("SSH_CONFIG_TEST", "/from/environment")
	ssh.learnAlgorithms(t)
	reader := userReader(t)

	for i, c := range oracleConfigs {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			config := strings.NewReplacer("INC", dir, "USER", reader.User).Replace(c.config)
			file := writeFile(t, filepath.Join(dir, fmt.Sprintf("config%d", i)), config)
			for alias := range strings.FieldsSeq(c.aliases) {
				h, err := reader.Resolve(alias, file, Written{})
				if err != nil {
					t.Errorf("%s: %v", alias, err)
					continue
				}
				ssh.compare(t, file, h)
			}
		})
	}
}

// TestOracleRefuses checks that what ssh holds for malformed is refused, and
// where that is.
func TestOracleRefuses(t *testing.T) {
	ssh := lookSSH(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "loop"), "Include "+dir+"/loop\n")
	writeFile(t, filepath.Join(dir, "circle"), "Include "+dir+"/circle2\n")
	writeFile(t, filepath.Join(dir, "circle2"), "Include "+dir+"/circle\n")
	for i := range 20 {
		writeFile(t, filepath.Join(dir, fmt.Sprintf("deep%d", i)), fmt.Sprintf("Include %s/deep%d\n", dir, i+1))
	}
	writeFile(t, filepath.Join(dir, "bad"), "\nPort bad\n")
	for config, line := range map[string]string{
		"Port":                       ":1: Port has no argument",
		"Port x":                     ":1: Port",
		"Port 0":                     ":1: Port",
		"Port 65536":                 ":1: Port",
		"Port 22 23":                 ":1: Port has more arguments",
		"Host a\n\n Port x":          ":3: Port", // in a block that does not match
		"User \"x":                   ":1: a quote is not closed",
		"User \"\"":                  ":1: User has an empty argument",
		"Host":                       ":1: Host has no argument",
		"Match":                      ":1: Match has no argument",
		"Match host":                 ":1: Match host has no argument",
		"Match host a all":           "", // fine: all after one other
		"Match host a user b all":    ":1: Match all stands alone",
		"Match all host a":           ":1: Match all stands alone",
		"StrictHostKeyChecking x":    ":1: StrictHostKeyChecking",
		"AddressFamily ipv4":         ":1: AddressFamily",
		"ServerAliveInterval 1x":     ":1: ServerAliveInterval",
		"ConnectTimeout 2147483647w": ":1: ConnectTimeout", // more nanoseconds than there are numbers
		"ServerAliveInterval -1":     ":1: ServerAliveInterval",
		"ServerAliveCountMax x":      ":1: ServerAliveCountMax",
		"ConnectTimeout ":            ":1: ConnectTimeout has no argument",
		"RekeyLimit x":               ":1: RekeyLimit",
		"RekeyLimit 1":               ":1: RekeyLimit",
		"IdentitiesOnly maybe":       ":1: IdentitiesOnly",
		"UserKnownHostsFile a none":  ":1: UserKnownHostsFile",
		"ProxyJump a:b:c:d":          ":1: ProxyJump",
		"ProxyJump a:0":              ":1: ProxyJump",
		"ProxyJump a,,b":             ":1: ProxyJump",
		"Include INC/loop":           `loop:1: "INC/loop" includes itself, which ssh refuses; remove this line`,
		"Include INC/circle":         `circle2:1: "INC/circle" includes itself`,
		"Include INC/deep0":          "deep15:1: more than 16 files include one another",
		"Po\x00rt 1":                 ":1: an unknown keyword has no argument",
		"Port \"1\x00\"":             ":1: a quote is not closed",
		"Include INC/bad":            "bad:2: Port",
		"Host zzz\n Include INC/bad": "bad:2: Port",
		"IdentityAgent ${NOT_SET_X}": ":1: IdentityAgent: the environment variable NOT_SET_X is not set",
		"UserKnownHostsFile /%z":     ":1: UserKnownHostsFile: unknown token %z",
	} {
		file := writeFile(t, filepath.Join(dir, "config"), strings.ReplaceAll(config, "INC", dir))
		line = strings.ReplaceAll(line, "INC", dir)
		_, err := userReader(t).Resolve("zz", file, Written{})
		_, sshErr := ssh.output("-G", "-F", file, "zz")
		switch {
		case line == "" && (err != nil || sshErr != nil):
			t.Errorf("%q: %v; ssh: %v", config, err, sshErr)
		case line != "" && (err == nil || !strings.Contains(err.Error(), line) || strings.Count(err.Error(), "include") > 2):
			t.Errorf("%q: got %v, want %q", config, err, line)
		case line != "" && sshErr == nil:
			t.Errorf("%q: ssh takes it", config)
		}
	}
}

// sshBinary is the real thing.
type sshBinary struct {
	path            string
	defaults, known map[string][]string // algorithms
}

func lookSSH(t *testing.T) *sshBinary {
	t.Helper()
	path := os.Getenv("SSH_CONFIG_TEST_SSH")
	if path == "" {
		path = sshtest.Program(t, "ssh")
	}
	return &sshBinary{path: path}
}

func (s *sshBinary) output(args ...string) (string, error) {
	cmd := exec.Command(s.path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	return string(out), err
}

// effective returns what ssh -G prints, by keyword.
func (s *sshBinary) effective(t *testing.T, args ...string) map[string][]string {
	t.Helper()
	out, err := s.output(append([]string{"-G"}, args...)...)
	if err != nil {
		t.Fatalf("ssh -G %q: %v", args, err)
	}
	got := make(map[string][]string)
	for l := range strings.Lines(out) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(l), " ")
		got[keyword] = append(got[keyword], value)
	}
	return got
}

var algorithmKeywords = []string{"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms", "casignaturealgorithms"}

func (s *sshBinary) learnAlgorithms(t *testing.T) {
	t.Helper()
	s.defaults, s.known = make(map[string][]string), make(map[string][]string)
	defaults := s.effective(t, "-F", "/dev/null", "x")
	for _, keyword := range algorithmKeywords {
		query := keyword
		if keyword == "casignaturealgorithms" {
			query = "sig"
		}
		known, err := s.output("-Q", query)
		if err != nil {
			t.Fatal(err)
		}
		s.known[keyword] = strings.Fields(known)
		s.defaults[keyword] = strings.Split(defaults[keyword][0], ",")
	}
}

// compare compares a host, and those on the way to it, with what ssh says.
func (s *sshBinary) compare(t *testing.T, file string, h *Host) {
	t.Helper()
	s.compareOne(t, h, "-F", file, h.Alias)
	jumps, _ := parseJumps(h.values.first("proxyjump"))
	at := len(h.Jumps)
	for len(jumps) > 0 { // as ssh starts itself again for each
		at--
		if at < 0 {
			t.Errorf("%s: too few jumps", h.Alias)
			return
		}
		nearest := jumps[len(jumps)-1]
		args := []string{"-F", file}
		if nearest.user != "" {
			args = append(args, "-l", nearest.user)
		}
		if nearest.port != 0 {
			args = append(args, "-p", strconv.Itoa(nearest.port))
		}
		var before []string
		for _, j := range jumps[:len(jumps)-1] {
			before = append(before, j.String())
		}
		if len(before) > 0 {
			args = append(args, "-J", strings.Join(before, ","))
		}
		hop := h.Jumps[at]
		if hop.Alias != nearest.host {
			t.Errorf("%s: jump %d is %q, want %q", h.Alias, at, hop.Alias, nearest.host)
			return
		}
		s.compareOne(t, hop, append(args, nearest.host)...)
		jumps, _ = parseJumps(hop.values.first("proxyjump"))
	}
	if at != 0 {
		t.Errorf("%s: %d jumps too many", h.Alias, at)
	}
}

func (s *sshBinary) compareOne(t *testing.T, h *Host, args ...string) {
	t.Helper()
	want := s.effective(t, args...)
	got := describe(h, userReader(t).User)
	for _, keyword := range algorithmKeywords {
		if list := h.values.first(keyword); list != "" {
			broken := slices.DeleteFunc(slices.Clone(s.known[keyword]), func(name string) bool { return slices.Contains(s.defaults[keyword], name) })
			names, unknown := Algorithms(list, s.defaults[keyword], broken)
			if len(unknown) > 0 {
				t.Errorf("%v: %s: unknown are %q", args, keyword, unknown)
			}
			got[keyword] = []string{strings.Join(names, ",")}
		}
	}
	for _, keyword := range slices.Sorted(maps.Keys(got)) {
		if keyword == "dynamicforward" {
			// The socket of a LocalForward is printed there, too.
			want[keyword] = slices.DeleteFunc(want[keyword], func(s string) bool { return strings.HasPrefix(s, "/") })
		}
		if keyword == "revokedhostkeys" && !slices.Equal(got[keyword], want[keyword]) {
			// Before OpenSSH 10 it is printed as it is written.
			got[keyword] = h.values["revokedhostkeys"][0].args
		}
		if !slices.Equal(got[keyword], want[keyword]) {
			t.Errorf("%v: %s is %q, ssh says %q", args, keyword, got[keyword], want[keyword])
		}
	}
}

// describe prints a host as ssh -G does. What ssh has other defaults for is
// left out where it is not set.
func describe(h *Host, localUser string) map[string][]string {
	got := make(map[string][]string)
	set := func(keyword string, value string) { got[keyword] = []string{value} }
	optional := func(keyword, value string) {
		if value != "" {
			set(keyword, value)
		} else {
			got[keyword] = nil
		}
	}
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

	set("hostname", h.HostName)
	set("port", strconv.Itoa(h.Port))
	if h.User == "" {
		set("user", localUser)
	} else {
		set("user", h.User)
	}
	// These are printed with their tokens.
	for _, keyword := range []string{"identityfile", "certificatefile"} {
		for _, v := range h.values[keyword] {
			got[keyword] = append(got[keyword], v.args[0])
		}
	}
	optional("identityagent", h.IdentityAgent)
	only := "no"
	if h.IdentitiesOnly != nil && *h.IdentitiesOnly {
		only = "yes"
	}
	set("identitiesonly", only)
	if len(h.UserKnownHostsFiles) > 0 {
		set("userknownhostsfile", strings.Join(h.UserKnownHostsFiles, " "))
	}
	if len(h.GlobalKnownHostsFiles) > 0 {
		set("globalknownhostsfile", strings.Join(h.GlobalKnownHostsFiles, " "))
	}
	if len(h.RevokedHostKeys) > 0 {
		set("revokedhostkeys", strings.Join(h.RevokedHostKeys, " "))
	}
	strict := map[string]string{"": "ask", "yes": "true", "no": "false"}
	if value, ok := strict[h.StrictHostKeyChecking]; ok {
		set("stricthostkeychecking", value)
	} else {
		set("stricthostkeychecking", h.StrictHostKeyChecking)
	}
	optional("hostkeyalias", h.HostKeyAlias)
	optional("bindaddress", h.BindAddress)
	set("addressfamily", "any")
	if h.AddressFamily != "" {
		set("addressfamily", h.AddressFamily)
	}
	optional("proxycommand", h.ProxyCommand)
	if jump := h.values.first("proxyjump"); jump != "none" {
		optional("proxyjump", jump)
	}
	set("connecttimeout", "none")
	if h.ConnectTimeout != 0 {
		set("connecttimeout", seconds(h.ConnectTimeout))
	}
	set("serveraliveinterval", "0")
	if h.ServerAliveInterval != nil {
		set("serveraliveinterval", seconds(*h.ServerAliveInterval))
	}
	set("serveralivecountmax", "3")
	if h.ServerAliveCountMax != nil {
		set("serveralivecountmax", strconv.Itoa(*h.ServerAliveCountMax))
	}
	set("rekeylimit", fmt.Sprintf("%d %s", h.RekeySize, seconds(h.RekeyInterval)))
	for kind, keyword := range forwardKeywords {
		got[keyword] = nil
		for _, f := range h.Forwards.List {
			if f.Kind == kind {
				got[keyword] = append(got[keyword], describeForward(f))
			}
		}
	}
	set("gatewayports", map[bool]string{true: "yes", false: "no"}[h.Forwards.GatewayPorts])
	if h.RequiredRSASize != 0 {
		set("requiredrsasize", strconv.Itoa(h.RequiredRSASize))
	}
	return got
}

// describeForward prints a forward as ssh -G does.
func describeForward(f Forward) string {
	fields, err := SplitForward(f.Spec)
	if err != nil {
		return err.Error()
	}
	address := func(fields []ForwardField) string {
		switch {
		case len(fields) == 1:
			return string(fields[0]) // a path, or a port without an address
		default:
			port, _ := parsePort(string(fields[1]))
			return fmt.Sprintf("[%s]:%d", fields[0], port)
		}
	}
	n := len(fields)
	switch {
	case f.Kind == 'D' || n < 2:
	case fields[n-1].IsPath():
		n--
	default:
		n -= 2
	}
	listen := address(fields[:n])
	if n == len(fields) {
		if f.Kind == 'R' {
			listen += " [socks]:0"
		}
		return listen
	}
	return listen + " " + address(fields[n:])
}

// userReader is the reader of who runs the tests, as ssh sees them.
func userReader(t *testing.T) *Reader {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return &Reader{Home: u.HomeDir, User: u.Username, UID: u.Uid, Hostname: hostname}
}

func writeFile(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
