package need

import (
	"slices"
	"strings"
	"testing"
)

// TestLeast: what another argument permits as well is left out.
func TestLeast(t *testing.T) {
	t.Parallel()
	got := least([]string{"web:80", "*:80", "web:81", "db:80", "web:81", "web:*", "[/run/s]:*", "[::1]:80", "[::1]:82"})
	if want := []string{"*:80", "web:*", "[/run/s]:*", "[::1]:82"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSSHDConfigUser: a user of two words is one pattern.
func TestSSHDConfigUser(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{
		"deploy": "Match User deploy\n", "first last": "Match User \"first last\"\n", "#1": "Match User \"#1\"\n", `CORP\u`: "Match User CORP\\u\n",
	} {
		if got := new(Restriction).SSHDConfig(user); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", user, got, want)
		}
	}
}
