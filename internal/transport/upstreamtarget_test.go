package transport

import "testing"

// TestUpstreamTargetOfOneLine: a target is a name or a path of one line.
func TestUpstreamTargetOfOneLine(t *testing.T) {
	t.Parallel()
	for _, dial := range []string{"unix//run/a\nssh-ed25519 AAAA", "unix//run/a\rb", "unix//run/a\x00", "web\n:80", "web\t:80"} {
		if target, err := UpstreamTarget(dial); err == nil {
			t.Errorf("%q is taken: %v", dial, target.Address)
		}
	}
}
