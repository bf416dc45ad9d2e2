package tunnel

import "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconn"

// Conn is a channel as a net.Conn.
type Conn = sshconn.Conn

const (
	// maxPendingOpens and maxPendingOpensPerTarget bound the opens that a
	// bastion has not answered yet, or has answered too late and not closed:
	// each one holds a file descriptor of sshd's and cannot be cancelled.
	maxPendingOpens          = 256
	maxPendingOpensPerTarget = 64
)

// openRequest is a dial on its way.
type openRequest struct {
	*sshconn.Request
	target Target
}

// newOpenRequest checks the target and puts it into SSH's words.
func newOpenRequest(t Target) (*openRequest, error) {
	r, err := sshconn.NewRequest(t.Network, t.Address, t.Originator)
	if err != nil {
		return nil, err
	}
	return &openRequest{r, t}, nil
}
