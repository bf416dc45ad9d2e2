package sshconfig

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// lineArguments are written behind every keyword.
var lineArguments = strings.Split(`
=
 
 #
 ""
 "" x
 x
 x y
 x y z
 x # y
 x #y z
 "x
 'x
 "x y"
 'x y' z
 x"y z"
 \"x
 none
 None
 none none
 none x
 any
 any x
 yes
 YES
 no
 true
 false
 on
 off
 ask
 auto
 always
 confirm
 confirm 5m
 yes 5m
 unbound
 point-to-point
 force
 subsystem
 accept-new
 inet
 default
 default none
 1G 1h
 0
 1
 -1
 +1
 01
 0x1
 1.5
 15
 16
 65535
 65536
 2147483647
 2147483648
 99999999999999999999
 5m
 5M30S
 1m30
 5x
 m5
 10K
 10Q
 0777
 1000
 888
 af21
 AF21 cs1
 ef ef ef
 256
 debug
 DEBUG3
 DEBUG4
 local7
 local8
 sha256
 sha3
 ~
 ^]
 ^
 ^a
 xx
 $HOME
 $HOME/x
 $A-B
 ${HOME}
 ${HOME
 ${}
 ${NOT_SET_X}
 a.b
 a..b
 .a
 a:b
 *:b
 a:
 *
 A=B
 A=B C
 A B=C
 -A
 LC_*
 8080
 8080 a:80
 8080 a
 8080 a:b
 8080 /s
 /s /t
 /s
 /s a:80
 /s /t /u
 /s:/t
 8080:a:80
 a:8080 b:80
 [::1]:8080 [::2]:80
 ::1:8080 a:80
 [::1 a:80
 [::1]x a:80
 *:8080 a:http
 0 a:80
 a:0 b:80
 8080 a:0
 8080 :80
 8080 a:80:
 :8080 a:80
 http a:80
 a/8080 b/80
 ssh
 nosuchservice
 22 23
 ssh-ed25519
 ssh-ed25519,ssh-rsa
 ssh-ed25519,nosuch
 ssh-*
 nosuch*
 -nosuch
 +nosuch
 ^ssh-ed25519
 +
 -
 ,
 aes128-ctr
 aes128-ctr,
 aes128-ctr,,nosuch
 aes*
 AES128-CTR
 +aes128-ctr,aes256-ctr
 +aes128-ctr,nosuch
 hmac-sha2-256
 hmac-sha2-256,nosuch
 curve25519-sha256@libssh.org
 curve25519-sha256,nosuch
 a,b
 u@a
 u@a:22,b
 u@
 @a
 a:99999
 ssh://u@a:22
 ssh://a/x
 ssh://
 [::1]:22
 [::1
 all
 all all
 !all
 host a
 host
 host ""
 host a all
 user a host b
 host a user
 originalhost a
 nosuch a
 final
 final all
 canonical host a
 all final
 address 10.0.0.1
 exec true
`, "\n")

// rareKeywords are not known to every ssh that runs the tests.
var rareKeywords = []string{
	"channeltimeout", "gssapiclientidentity", "gssapikexalgorithms", "gssapikeyexchange", "gssapirenewalforcesrekey",
	"gssapiserveridentity", "gssapitrustdns", "obscurekeystroketiming", "protocolkeepalives", "refuseconnection", "rsaminsize",
	"setuptimeout", "tag", "versionaddendum", "warnweakcrypto",
}

// judgedOtherwise tells of lines that other versions of ssh read otherwise.
func judgedOtherwise(line string, refused bool) bool {
	word, arguments, _ := strings.Cut(strings.ToLower(strings.TrimSpace(line)), " ")
	word, _, _ = strings.Cut(word, "=")
	switch {
	case slices.Contains(rareKeywords, word):
		return true
	case word == "match":
		// Newer versions know more criteria, and take an = in an argument.
		return refused && (strings.Contains(line, "tagged") || strings.Contains(line, "="))
	case word == "rekeylimit":
		// A size without a number, or with more behind it, is a mistake.
		return !refused
	case word == "proxyjump":
		// With an empty name or one with spaces, ssh ends when it connects.
		return !refused && (strings.HasPrefix(arguments, `""`) || strings.Contains(arguments, " "))
	case word == "revokedhostkeys":
		// Since OpenSSH 10 it is a list.
		return refused && len(strings.Fields(arguments)) > 1
	}
	return false
}

// TestOracleLines writes all kinds of arguments behind every keyword. What ssh
// refuses is refused, and nothing else.
func TestOracleLines(t *testing.T) {
	t.Parallel()
	ssh := lookSSH(t)
	var lines []string
	keywords := slices.Concat(slices.Collect(maps.Keys(taken)), slices.Collect(maps.Keys(notTaken)), slices.Collect(maps.Keys(ignored)), slices.Collect(maps.Keys(synonyms)),
		[]string{"host", "match", "nosuch"})
	slices.Sort(keywords)
	for _, keyword := range keywords {
		for _, argument := range lineArguments {
			lines = append(lines, keyword+argument)
		}
	}
	lines = append(lines, oddLines...)
	// ssh ends at the first line of PermitRemoteOpen that it refuses.
	fatal := func(line string) bool { return strings.HasPrefix(line, "permitremoteopen") }
	for _, line := range lines {
		if fatal(line) {
			compareLine(t, ssh, line)
		}
	}
	compareLines(t, ssh, slices.DeleteFunc(lines, fatal))
}

// TestOracleTypos changes one character of lines that are right.
func TestOracleTypos(t *testing.T) {
	t.Parallel()
	ssh := lookSSH(t)
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same each time
	const characters = "aeost EHP0129 =\"'\\#,:;@%$/*!?-_.[]{}~^+|<>()\xa0\xc3\xff"
	right := slices.Clone(pool)
	for _, keyword := range []string{"Compression", "ControlPersist", "LocalForward", "LogLevel", "IPQoS", "SetEnv", "EscapeChar"} {
		for _, arguments := range []string{"yes", "no", "10m", "8080 a:80", "[::1]:8080 [::2]:80", "/s /t", "verbose", "af21 cs1", "A=B", "^]"} {
			right = append(right, keyword+" "+arguments)
		}
	}
	var lines []string
	for range 2000 {
		l := []byte(right[random.IntN(len(right))])
		at, c := random.IntN(len(l)), characters[random.IntN(len(characters))]
		switch random.IntN(4) {
		case 0:
			l = slices.Delete(l, at, at+1)
		case 1:
			l = slices.Insert(l, at, c)
		case 2:
			l[at] = c
		default:
			l[at], l[max(at-1, 0)] = l[max(at-1, 0)], l[at]
		}
		lines = append(lines, string(l))
	}
	compareLines(t, ssh, lines)
}

// compareLine compares whether a line is refused.
func compareLine(t *testing.T, ssh *sshBinary, line string) {
	t.Helper()
	file := writeFile(t, filepath.Join(t.TempDir(), "config"), "Host no-such-host\n"+line+"\n")
	_, sshErr := ssh.output("-G", "-F", file, "x")
	if err := takesLine(t, line); (err == nil) != (sshErr == nil) {
		t.Errorf("%q: %v; ssh: %v", line, err, sshErr)
	}
}

// oddLines are keywords that are written in all kinds of ways.
var oddLines = []string{
	"", " ", "\t", "#", " # x", "\f", "\r", "x", "Host", "Hots a", "Hostt a", "Hostname", "Host: a", "Port: 22", "Port:22", "Port;22", "Port,22",
	"Port=22", "Port =22", "Port= 22", "Port = 22", "Port == 22", "=Port 22", " =Port 22", "= Port 22", "==Port 22", "=", "==",
	`"Port" 22`, `"Port 22`, `Po"rt" 22`, `Port"22"`, `Port"22`, `'Port' 22`, `Port 22"`, `Port "22" # x`, "Port\t22", "Port\v22", "Port\f22", "Port 22\f", "Port 22\r",
	"\xef\xbb\xbfHost a", "\xef\xbb\xbf", "\xef\xbb\xbf# x", "\xc2\xa0Port 22", "Port\xc2\xa022", "\u200bPort 22", "“Port” 22", "Роrt 22", "Port 22\xc2\xa0",
	"\xff\xfeH\x01", "- Port 22", "* Port 22", "--Port 22", "-o Port=22", "-oPort=22", "Host-Name a", "Host_Name a", "Host Name a", "HostName a b",
	"UseKeychain yes", "UseKeychain", "IgnoreUnknown", "PermitRootLogin yes", "ssh a", "{", "}", "Include", "Include \"\"", "Include # x", "Include a # b",
}

// compareLines compares what is refused, line by line.
func compareLines(t *testing.T, ssh *sshBinary, lines []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	// In a block that does not match, lines are only checked.
	const block = "Host no-such-host\n"
	writeFile(t, file, block+strings.Join(lines, "\n"+block)+"\n")
	cmd := exec.Command(ssh.path, "-G", "-F", file, "x")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_ = cmd.Run()
	refused := map[int]string{}
	for _, m := range regexp.MustCompile(`(?m)^\S*config:? line (\d+): (.*)$`).FindAllStringSubmatch(stderr.String(), -1) {
		if n, _ := strconv.Atoi(m[1]); !strings.HasPrefix(m[2], "Unsupported option") {
			refused[n] = m[2]
		}
	}
	if !strings.Contains(stderr.String(), "bad configuration options") {
		t.Fatalf("ssh has not read all lines:\n%s", stderr.String()[max(0, stderr.Len()-500):])
	}
	for i, text := range lines {
		err := takesLine(t, text)
		why, isRefused := refused[2*i+2]
		if (err != nil) != isRefused && !judgedOtherwise(text, isRefused) {
			t.Errorf("%q: %v; ssh: %q", text, err, why)
		}
	}
}

// takesLine reports whether a line is taken in a block that does not match.
func takesLine(t *testing.T, text string) error {
	t.Helper()
	r := userReader(t)
	lines, err := parseLines("config", []byte(text+"\n"))
	r.files = map[string]file{"config": {lines: append([]line{{directive: &directive{keyword: "host", written: "Host", args: []string{"no"}}, pos: "config:0"}}, lines...), err: err}}
	_, err = r.Resolve("x", "config", Written{})
	if err != nil && !strings.HasPrefix(err.Error(), "config:1: ") {
		return errors.New("NO PLACE: " + err.Error())
	}
	return err
}
