package tunnel

import (
	"context"
	"fmt"
	"net"
	"time"

	"go.uber.org/zap"
)

// redialAfter is how long a TCP connect may wait for an answer before another
// one is started beside it. The kernel repeats a lost SYN at ever longer
// intervals, so that a bastion that is back would be noticed seconds late.
const redialAfter = time.Second

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
	return dialRepeatedly(ctx, func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	})
}

// dialRepeatedly starts a dial, and another every redialAfter, and returns the
// outcome of the first that ends. The others are cancelled.
func dialRepeatedly(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		conn net.Conn
		err  error
	}
	outcomes := make(chan outcome)
	// try returns when its outcome has been taken, or nobody wants it.
	try := func() {
		conn, err := dial(ctx)
		select {
		case outcomes <- outcome{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				_ = conn.Close()
			}
		}
	}
	again := time.NewTicker(redialAfter)
	defer again.Stop()
	for {
		go try()
		select {
		case o := <-outcomes:
			return o.conn, o.err
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-again.C:
		}
	}
}
