package tunnel

import (
	"cmp"
	"context"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
)

// Run logs in to the first host of cfg, through jump unless that is nil, and runs a
// command in the user's login shell; see connect.Run. The connection is no tunnel's, and
// ends with the command.
func Run(ctx context.Context, cfg Config, set Settings, jump *Handle, command string, stdin io.Reader) (string, error) {
	state := connect.State{
		Pace: connect.Pace{
			Timeout: cmp.Or(set.ConnectTimeout, 10*time.Second),
			Delay:   connlimit.Delay{Min: cmp.Or(set.ReconnectMin, 250*time.Millisecond), Max: cmp.Or(set.ReconnectMax, 30*time.Second)},
		},
		Logger: cmp.Or(set.Logger, zap.NewNop()), KeyMemory: set.KeyMemory,
	}
	return connect.Run(ctx, cfg, jump.asJump(), state, command, stdin)
}
