package sshsyntax

import (
	"strings"
	"testing"
)

func TestMatchPattern(t *testing.T) {
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "", false},
		{"*", "", true},
		{"*", "anything.at.all", true},
		{"?", "a", true},
		{"?", "", false},
		{"??", "a", false},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "example.com", false},
		{"a*c*e", "abcde", true},
		{"a*c*e", "abcdef", false},
		{"a**e", "ae", true},
		{"*a", "aba", true},
		{"*ab", "aab", true},
		{"10.0.?.*", "10.0.5.77", true},
		{"10.0.?.*", "10.0.55.77", false},
		{"[*.example.com]:2222", "[a.example.com]:2222", true},
	} {
		if got := Match(test.pattern, test.s); got != test.want {
			t.Errorf("Match(%q, %q) = %v", test.pattern, test.s, got)
		}
	}
}

func TestMatchPatternTakesBoundedTime(t *testing.T) {
	// One that tried all ways would not end.
	if Match(strings.Repeat("*a", 500)+"b", strings.Repeat("a", 5000)) {
		t.Error("matched")
	}
}

// FuzzPattern compares patterns with what is obviously right, if slow.
func FuzzPattern(f *testing.F) {
	f.Add("web.example.com", "*.example.???")
	f.Add("aaab", "a*a*b")
	f.Add("", "**")
	f.Fuzz(func(t *testing.T, s, pattern string) {
		if len(s) > 20 || len(pattern) > 10 {
			return
		}
		if got, want := Match(pattern, s), slowMatch(s, pattern); got != want {
			t.Errorf("%q matches %q: %v, want %v", s, pattern, got, want)
		}
	})
}

func slowMatch(s, pattern string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowMatch(s, pattern[1:]) || s != "" && slowMatch(s[1:], pattern)
	default:
		return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && slowMatch(s[1:], pattern[1:])
	}
}

// TestExpandForShell: it refuses what ssh refuses on its command line
// (ssh_valid_hostname and ssh_valid_ruser of OpenSSH's readconf.c).
func TestExpandForShell(t *testing.T) {
	for _, test := range []struct {
		token   byte
		value   string
		refused bool
	}{
		{'h', "web-1.example.com", false},
		{'h', "fe80::1%eth0", false},
		{'h', "-x", true},
		{'h', "a b", true},
		{'h', "a,b", true},
		{'h', "a\nb", true},
		{'n', "$(x)", true},
		{'k', "a`b`", true},
		{'j', "a|b", true},
		{'n', "a'b", true},
		{'h', `a\b`, true},
		{'h', "a;b", true},
		{'h', "a&b", true},
		{'h', "a\"b", true},
		{'h', "a{b}", true},
		{'h', "a<b", true},
		{'r', "deploy", false},
		{'r', `DOMAIN\user`, false},
		{'r', "first last", false},
		{'r', "a@b,c", false},
		{'r', "-x", true},
		{'r', "a -x", true},
		{'r', `a\`, true},
		{'r', "a;b", true},
		{'r', "a(b)", true},
		{'r', "a\x01", true},
		{'d', "/home/a b", false}, // ours, not of a name
	} {
		tokens := Tokens{test.token: test.value}
		got, err := tokens.ExpandForShell("x %" + string(test.token) + " 100%%")
		if (err != nil) != test.refused || err == nil && got != "x "+test.value+" 100%" {
			t.Errorf("%%%c %q: got %q, %v", test.token, test.value, got, err)
		}
		if got, err := tokens.ExpandForShell("x"); got != "x" || err != nil {
			t.Errorf("not used: got %q, %v", got, err)
		}
	}
}
