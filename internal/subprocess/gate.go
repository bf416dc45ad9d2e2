package subprocess

import (
	"errors"
	"os"
)

// Allow is the environment variable of this process that has to be 1 for it to run
// commands. Whoever may write a configuration, over the admin API perhaps, may not run
// commands by that. AllowOld is its name from when proxy_command was the only option
// with a command.
const (
	Allow    = "CADDY_SSH_TUNNEL_ALLOW_COMMANDS"
	AllowOld = "CADDY_SSH_TUNNEL_ALLOW_PROXY_COMMAND"
)

// ErrForbidden refuses a command.
var ErrForbidden = errors.New("running commands is not allowed, and none was run; set CADDY_SSH_TUNNEL_ALLOW_COMMANDS=1 in Caddy's environment to allow it")

// Allowed reports whether the environment allows it to run commands.
func Allowed() bool { return os.Getenv(Allow) == "1" || os.Getenv(AllowOld) == "1" }
