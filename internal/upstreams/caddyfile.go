package upstreams

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Option is an option in the block.
type Option struct {
	// Usage is what comes after the option's name, Type the only type of records that
	// has the option, or "".
	Usage string
	Type  Type

	several bool // arguments may follow the first one
	set     func(u *Upstreams, args []string) error
}

// Options are the options by name.
var Options = map[string]Option{
	"name":         {Usage: "<name>", set: text(func(u *Upstreams) *string { return &u.Name })},
	"port":         {Usage: "<port>", Type: TypeA, set: text(func(u *Upstreams) *string { return &u.Port })},
	"service":      {Usage: "<service>", Type: TypeSRV, set: text(func(u *Upstreams) *string { return &u.Service })},
	"proto":        {Usage: "<protocol>", Type: TypeSRV, set: text(func(u *Upstreams) *string { return &u.Proto })},
	"refresh":      {Usage: "<interval>", set: duration(func(u *Upstreams) *caddy.Duration { return &u.Refresh })},
	"grace_period": {Usage: "<duration>", set: duration(func(u *Upstreams) *caddy.Duration { return &u.GracePeriod })},
	"dial_timeout": {Usage: "<timeout>", set: duration(func(u *Upstreams) *caddy.Duration { return &u.DialTimeout })},
	"resolvers":    {Usage: "<host>[:<port>]...", several: true, set: list(func(u *Upstreams) *[]string { return &u.Resolvers })},
	"versions":     {Usage: "ipv4|ipv6...", Type: TypeA, several: true, set: list(func(u *Upstreams) *[]string { return &u.Versions })},
}

// RefusedOptions are the options of Caddy's own dynamic a and srv that have no meaning,
// and why.
var RefusedOptions = map[string]string{
	"dial_fallback_delay": "the bastion chooses among the addresses of a DNS server",
}

func text(field func(*Upstreams) *string) func(*Upstreams, []string) error {
	return func(u *Upstreams, args []string) error {
		if *field(u) != "" {
			return errors.New("it stands behind the type as well; keep one")
		}
		*field(u) = args[0]
		return nil
	}
}

func duration(field func(*Upstreams) *caddy.Duration) func(*Upstreams, []string) error {
	return func(u *Upstreams, args []string) (err error) {
		*field(u), err = config.ParseDuration(args[0])
		return err
	}
}

func list(field func(*Upstreams) *[]string) func(*Upstreams, []string) error {
	return func(u *Upstreams, args []string) error {
		*field(u) = args
		return nil
	}
}

// usage is how the first line is written.
const usage = "usage: dynamic ssh_tunnel <tunnel> a [<name> [<port>]], or srv [<name>]"

// UnmarshalCaddyfile sets up the upstreams from Caddyfile tokens. Syntax:
//
//	dynamic ssh_tunnel <tunnel> a [<name> [<port>]] {
//		name         <name>
//		port         <port>
//		resolvers    <host>[:<port>]...
//		refresh      <interval>
//		grace_period <duration>
//		dial_timeout <timeout>
//		versions     ipv4|ipv6...
//	}
//
//	dynamic ssh_tunnel <tunnel> srv [<name>] {
//		service      <service>
//		proto        <protocol>
//		name         <name>
//		resolvers    <host>[:<port>]...
//		refresh      <interval>
//		grace_period <duration>
//		dial_timeout <timeout>
//	}
func (u *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	args := d.RemainingArgs()
	if err := u.unmarshalArgs(args); err != nil {
		return d.WrapErr(redact.Misplaced(args, err))
	}
	given := make(map[string]bool)
	for d.NextBlock(0) {
		name := d.Val()
		if given[name] {
			return d.Errf("option %s is given twice", redact.Quote(name))
		}
		given[name] = true
		args := d.RemainingArgs()
		if err := u.unmarshalOption(name, args); err != nil {
			return d.WrapErr(redact.Misplaced(append(args, name), err))
		}
	}
	return nil
}

// unmarshalArgs takes in what stands on the first line.
func (u *Upstreams) unmarshalArgs(args []string) error {
	if len(args) == 0 {
		return errors.New("no tunnel given; " + usage)
	}
	u.TunnelName = args[0]
	if err := dialer.CheckName(u.TunnelName); err != nil {
		return err
	}
	if len(args) == 1 {
		return errors.New("no type of records given; " + usage)
	}
	most := 2 // behind it
	switch u.Type = Type(args[1]); u.Type {
	case TypeA:
	case TypeSRV:
		most = 1
	default:
		return fmt.Errorf("type %s is neither a nor srv; %s", redact.Quote(args[1]), usage)
	}
	args = args[2:]
	if len(args) > most {
		return fmt.Errorf("unexpected %s; %s", redact.Quote(args[most]), usage)
	}
	if len(args) > 0 {
		u.Name = args[0]
	}
	if len(args) > 1 {
		u.Port = args[1]
	}
	return nil
}

// unmarshalOption takes in an option of the block.
func (u *Upstreams) unmarshalOption(name string, args []string) error {
	if why, ok := RefusedOptions[name]; ok {
		return fmt.Errorf("option %q does not work through a tunnel: %s", name, why)
	}
	o, ok := Options[name]
	switch {
	case !ok:
		return fmt.Errorf("unknown option %s", redact.Quote(name))
	case o.Type != "" && o.Type != u.Type:
		return fmt.Errorf("option %q does not go together with %s", name, u.Type)
	case len(args) == 0 || len(args) > 1 && !o.several:
		return fmt.Errorf("usage: %s %s", name, o.Usage)
	}
	if err := o.set(u, args); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
