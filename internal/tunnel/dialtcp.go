package tunnel

import (
	"context"
	"fmt"
	"net"

	"go.uber.org/zap"
)

// dialBastion connects to the bastion in the way that cfg says.
func dialBastion(ctx context.Context, cfg *Config, log *zap.Logger) (net.Conn, error) {
	switch {
	case len(cfg.ProxyCommand) > 0:
		return dialCommand(cfg, log)
	case cfg.Proxy != nil:
		return dialProxy(ctx, cfg)
	default:
		return dialTCP(ctx, cfg, cfg.Address)
	}
}

// dialTCP connects to address, the bastion's or its proxy's, trying all
// addresses of its name, which is resolved anew each time.
func dialTCP(ctx context.Context, cfg *Config, address string) (net.Conn, error) {
	network := "tcp"
	switch cfg.AddressFamily {
	case "inet":
		network = "tcp4"
	case "inet6":
		network = "tcp6"
	}
	if cfg.DialContext != nil {
		return cfg.DialContext(ctx, network, address)
	}
	var d net.Dialer
	if cfg.BindAddress != "" {
		addr, err := net.ResolveTCPAddr(network, net.JoinHostPort(cfg.BindAddress, "0"))
		if err != nil {
			return nil, fmt.Errorf("bind_address %q: %w", cfg.BindAddress, err)
		}
		d.LocalAddr = addr
	}
	return d.DialContext(ctx, network, address)
}
