package tunnel

import (
	"context"
	"io"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
)

// Run logs in to the first host of cfg, through jump unless that is nil, and runs a
// command in the user's login shell; see connect.Run. The connection is no tunnel's, and
// ends with the command.
func Run(ctx context.Context, cfg Config, set Settings, jump *Handle, command string, stdin io.Reader) (string, error) {
	set = set.withDefaults()
	return connect.Run(ctx, cfg, jump.asJump(), connect.State{Pace: set.pace(), Logger: set.Logger, KeyMemory: set.KeyMemory}, command, stdin)
}
