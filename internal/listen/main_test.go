package listen

import (
	"os"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestMain(m *testing.M) {
	sshtest.Isolate()
	os.Exit(m.Run())
}
