package need

import (
	"slices"
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
