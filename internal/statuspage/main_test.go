package statuspage

import (
	"os"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
)

func TestMain(m *testing.M) { os.Exit(caddytest.Main(m)) }
