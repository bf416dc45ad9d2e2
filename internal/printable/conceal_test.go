package printable

import "testing"

func TestConceal(t *testing.T) {
	for _, test := range []struct {
		text, want string
		secrets    []string
	}{
		{"no code hunter2 or hunter2", "no code … or …", []string{"", "hunter2"}},
		{"a bad day", "a bad day", []string{"a", "bad"}},
		{"u:p4ssword", "u:…", []string{"u", "p4ssword"}},
	} {
		if got := Conceal(test.text, test.secrets...); got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}
