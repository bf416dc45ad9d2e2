package forward

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestMain checks that no goroutine outlives the tests.
func TestMain(m *testing.M) {
	sshtest.Isolate()
	goleak.VerifyTestMain(m)
}
