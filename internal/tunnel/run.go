package tunnel

import (
	"context"
	"io"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
)

// Run logs in to the first host of cfg, through jump unless that is nil, and runs a
// command in the user's login shell; see connect.Run. The connection is no tunnel's, and
// ends with the command.
func Run(ctx context.Context, cfg Config, set Settings, jump *Handle, command string, input func(server string) io.Reader) (string, error) {
	set = set.WithDefaults()
	pace := connect.Pace{Timeout: set.ConnectTimeout, Delay: connlimit.Delay{Min: set.ReconnectMin, Max: set.ReconnectMax}}
	return connect.Run(ctx, cfg, jump.asJump(), connect.State{Pace: pace, Logger: set.Logger, KeyMemory: set.KeyMemory}, command, input)
}
