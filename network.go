package sshtunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/bind"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
)

func init() {
	contract.RegisterNetwork(bind.Network, listenOnBastion)
}

// listenOnBastion is the listener function of the network:
//
//	ssh_tunnel/<tunnel>[/<address>]:<port>
//	ssh_tunnel/<tunnel>/unix/<path>
//
// The address is one of the bastion's, or * for all of them. Default: its
// loopback.
//
// The listener is there at once, whether the tunnel is up or not, and stays
// through lost connections. Errors are for what can never work: an unknown
// tunnel, an address that is none or that the configuration has already, the
// admin endpoint.
func listenOnBastion(ctx context.Context, _, host, portRange string, portOffset uint, _ net.ListenConfig) (any, error) {
	module, ok := contract.ListeningModule(ctx)
	if !ok {
		return nil, errors.New("the admin endpoint cannot be on a bastion, where whoever connects could change the configuration; give it an address of this machine")
	}
	name, where, _ := strings.Cut(host, "/")
	if name == "" {
		return nil, errors.New("no tunnel; write ssh_tunnel/<tunnel>, or ssh_tunnel/<tunnel>/<address of the bastion>")
	}
	t, err := tunnelOf(module, name)
	if err != nil {
		return nil, err
	}
	port, err := portAt(portRange, portOffset)
	if err != nil {
		return nil, err
	}
	address, err := hostport.ParseBind(where, port)
	if err != nil {
		return nil, err
	}
	if contract.ListensForRedirects(module, caddy.NetworkAddress{Network: bind.Network, Host: host, StartPort: port, EndPort: port}) {
		if address.Network == "unix" {
			return bind.NewIdle(address), nil
		}
		t.logger.Info("listening for automatic HTTPS's redirects as well", zap.Stringer("listen", address))
	}
	return t.bind(address)
}

// portAt returns a port of a range, as Caddy gives both.
func portAt(portRange string, offset uint) (uint, error) {
	first, _, _ := strings.Cut(portRange, "-")
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %q is not a number", portRange)
	}
	return uint(port) + offset, nil
}

// bind makes the bastion listen on an address, in the place of the configuration
// before if that has it.
func (t *openTunnel) bind(address hostport.ListenAddress) (net.Listener, error) {
	for _, f := range t.RemoteForwards {
		if f.Listen == address {
			return nil, fmt.Errorf("%q is already in use by a remote_forward of tunnel %q", address, t.Config.Name)
		}
	}
	return bind.Listen(t.Config.Name, t.handle, address)
}
