package connect

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestMain fails the package if a goroutine outlives its test.
func TestMain(m *testing.M) {
	sshtest.Isolate()
	goleak.VerifyTestMain(m)
}
