package configfile

import (
	"os"
	"testing"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
)

func TestMain(m *testing.M) { os.Exit(caddytest.Main(m)) }
