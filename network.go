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
	name, where, err := cutTunnel(host)
	if err != nil {
		return nil, err
	}
	t, err := tunnelOf(module, name)
	if err != nil {
		return nil, err
	}
	port, err := portAt(portRange, portOffset)
	if err != nil {
		return nil, err
	}
	address, err := t.bindAddress(where, port)
	if err != nil {
		return nil, err
	}
	if contract.ListensForRedirects(module, caddy.NetworkAddress{Network: bind.Network, Host: host, StartPort: port, EndPort: port}) {
		if address.Network == "unix" {
			return bind.NewIdle(address), nil
		}
		t.logger.Info("listening for automatic HTTPS's redirects as well", zap.Stringer("listen", address))
	}
	return bind.Listen(t.Config.Name, t.handle, address)
}

// checkSites refuses a configuration with a site that can never listen on a bastion, for
// the reasons of listenOnBastion, which `caddy validate` does not come to.
func (a *App) checkSites() error {
	claimed := make(map[string]bool)
	for _, site := range contract.SiteAddresses(a.ctx, bind.Network) {
		if err := a.checkSite(site.Address, claimed); err != nil {
			return fmt.Errorf("server %q: listening on %s: %w", site.Server, site.Address, err)
		}
	}
	return nil
}

// checkSite checks one address. claimed are those before it, of which each is there once.
func (a *App) checkSite(site caddy.NetworkAddress, claimed map[string]bool) error {
	name, where, err := cutTunnel(site.Host)
	if err != nil {
		return err
	}
	t, err := a.tunnel(name)
	if err != nil {
		return err
	}
	address, err := t.bindAddress(where, site.StartPort)
	if err != nil {
		return err
	}
	key := name + " " + address.String()
	if claimed[key] {
		return bind.AlreadyInUse(name, address)
	}
	claimed[key] = true
	return nil
}

// cutTunnel takes the host of an address of the network apart: into the tunnel, and
// where on its bastion.
func cutTunnel(host string) (name, where string, err error) {
	name, where, _ = strings.Cut(host, "/")
	if name == "" {
		return "", "", errors.New("no tunnel; write ssh_tunnel/<tunnel>, or ssh_tunnel/<tunnel>/<address of the bastion>")
	}
	return name, where, nil
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

// bindAddress reads where on the bastion a site listens. A remote forward of the same
// tunnel cannot be there.
func (t *openTunnel) bindAddress(where string, port uint) (hostport.ListenAddress, error) {
	address, err := hostport.ParseBind(where, port)
	if err != nil {
		return address, err
	}
	for _, f := range t.RemoteForwards {
		if f.Listen == address {
			return address, fmt.Errorf("%q is already in use by a remote_forward of tunnel %q", address, t.Config.Name)
		}
	}
	return address, nil
}
