package config

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
)

// Option is an option in a tunnel's block.
type Option struct {
	// Usage is what comes after the option's name.
	Usage string

	// repeats says that the option may be written more than once.
	repeats bool

	// least and most are how many arguments the option takes; no most is any number.
	least, most int

	// set takes the arguments in.
	set func(t *Tunnel, args []string) error

	// Block are the options in the option's own block. If it is nil there must
	// be none.
	Block map[string]Option
}

// TunnelOptions are the options by name. Lists of algorithms may also be separated by
// commas, as in ssh_config(5). The forwards may have a block of their own; see
// options_forward.go.
var TunnelOptions = map[string]Option{
	"host": {Usage: "[<user>@]<host>[:<port>]...", least: 1, set: func(t *Tunnel, args []string) error {
		for _, arg := range args {
			if err := t.addHost(arg); err != nil {
				return err
			}
		}
		return nil
	}},
	"user": {Usage: "<user>", least: 1, most: 1, set: func(t *Tunnel, args []string) error {
		if t.User != "" { // by host; one that is written twice does not get here
			return fmt.Errorf("%q; the host has %q: keep one", args[0], t.User)
		}
		t.User = args[0]
		return nil
	}},
	"ssh_config": {Usage: "<alias> [<file>]", least: 1, most: 2, set: func(t *Tunnel, args []string) error {
		t.SSHConfig = &SSHConfig{Alias: args[0]}
		if len(args) == 2 {
			t.SSHConfig.File = args[1]
		}
		return nil
	}},

	"identity_file": {Usage: "<path>|none [<passphrase>]", repeats: true, least: 1, most: 2, set: func(t *Tunnel, args []string) error {
		file := IdentityFile{Path: args[0]}
		if len(args) == 2 {
			file.Passphrase = args[1]
		}
		t.IdentityFiles = append(t.IdentityFiles, file)
		return nil
	}},
	"identity": {Usage: "<key text>|auto [<passphrase>]", repeats: true, least: 1, most: 2, set: func(t *Tunnel, args []string) error {
		id := Identity{Key: args[0]}
		if args[0] == "auto" {
			id = Identity{Auto: true}
		}
		if len(args) == 2 {
			id.Passphrase = args[1]
		}
		t.Identities = append(t.Identities, id)
		return t.checkAuto()
	}},
	"certificate_file": {Usage: "<path>", repeats: true, least: 1, most: 1, set: func(t *Tunnel, args []string) error {
		t.CertificateFiles = append(t.CertificateFiles, args[0])
		return nil
	}},
	"certificate":     key("<certificate text>", func(t *Tunnel) *[]string { return &t.Certificates }),
	"identity_agent":  one("<socket>|SSH_AUTH_SOCK|none", word, func(t *Tunnel) *string { return &t.IdentityAgent }),
	"password":        one("<secret>", word, func(t *Tunnel) *string { return &t.Password }),
	"identities_only": flag(func(t *Tunnel, on bool) { t.IdentitiesOnly = &on }),

	"known_hosts":                several("<path>...", func(t *Tunnel) *[]string { return &t.KnownHosts }),
	"host_key":                   key("SHA256:<fingerprint> | <type> <base64>", func(t *Tunnel) *[]string { return &t.HostKeys }),
	"host_certificate_authority": key("<type> <base64> | <path>", func(t *Tunnel) *[]string { return &t.HostCertificateAuthorities }),
	"host_key_alias":             one("<name>", word, func(t *Tunnel) *string { return &t.HostKeyAlias }),
	"strict_host_key_checking":   one("yes|accept-new|no", word, func(t *Tunnel) *string { return &t.StrictHostKeyChecking }),
	"update_host_keys":           flag(func(t *Tunnel, on bool) { t.UpdateHostKeys = &on }),
	"revoked_host_keys":          several("<path>...", func(t *Tunnel) *[]string { return &t.RevokedHostKeys }),

	"proxy_jump": one("<tunnel>", word, func(t *Tunnel) *string { return &t.ProxyJump }),
	"proxy":      one("socks5|http://[<user>:<password>@]<host>:<port>", word, func(t *Tunnel) *string { return &t.Proxy }),
	"proxy_command": {Usage: "<command> [<argument>...]", least: 1, set: func(t *Tunnel, args []string) error {
		t.ProxyCommand = args
		return nil
	}},
	"bind_address":   one("<ip>", word, func(t *Tunnel) *string { return &t.BindAddress }),
	"address_family": one("any|inet|inet6", word, func(t *Tunnel) *string { return &t.AddressFamily }),

	"connect_timeout":        one("<duration>", positiveDuration, func(t *Tunnel) *caddy.Duration { return &t.ConnectTimeout }),
	"server_alive_interval":  one("<duration>", durationOrZero, func(t *Tunnel) **caddy.Duration { return &t.ServerAliveInterval }),
	"server_alive_count_max": one("<n>", positive, func(t *Tunnel) *int { return &t.ServerAliveCountMax }),
	"reconnect_delay": {Usage: "<min> <max>", least: 2, most: 2, set: func(t *Tunnel, args []string) error {
		lo, errLo := positiveDuration(args[0])
		hi, errHi := positiveDuration(args[1])
		t.ReconnectDelay = &ReconnectDelay{Min: lo, Max: hi}
		return cmp.Or(errLo, errHi)
	}},
	"drain_timeout": one("<duration>", durationOrZero, func(t *Tunnel) **caddy.Duration { return &t.DrainTimeout }),
	"connections": {Usage: "<min> [<max>]", least: 1, most: 2, set: func(t *Tunnel, args []string) (err error) {
		t.Connections = new(Connections)
		if t.Connections.Min, err = positive(args[0]); err == nil && len(args) == 2 {
			t.Connections.Max, err = positive(args[1])
		}
		return err
	}},
	"rekey_limit": {Usage: "<size>|default [<duration>]", least: 1, most: 2, set: func(t *Tunnel, args []string) (err error) {
		t.RekeyLimit = new(RekeyLimit)
		if args[0] != "default" {
			t.RekeyLimit.Size, err = size(args[0])
		}
		if err == nil && len(args) == 2 {
			t.RekeyLimit.Interval, err = positiveDuration(args[1])
		}
		return err
	}},
	"lazy": {Usage: "[yes|no|<duration>]", most: 1, set: func(t *Tunnel, args []string) (err error) {
		switch {
		case len(args) == 0 || args[0] == "yes":
			t.Lazy = true
		case args[0] == "no":
		default:
			t.Lazy = true
			if t.LazyTimeout, err = positiveDuration(args[0]); err != nil {
				err = fmt.Errorf("%q is not yes, no or a duration above zero, such as 15m", args[0])
			}
		}
		return err
	}},

	"kex_algorithms":             algorithmList(func(t *Tunnel) *[]string { return &t.KexAlgorithms }),
	"ciphers":                    algorithmList(func(t *Tunnel) *[]string { return &t.Ciphers }),
	"macs":                       algorithmList(func(t *Tunnel) *[]string { return &t.MACs }),
	"host_key_algorithms":        algorithmList(func(t *Tunnel) *[]string { return &t.HostKeyAlgorithms }),
	"pubkey_accepted_algorithms": algorithmList(func(t *Tunnel) *[]string { return &t.PubkeyAcceptedAlgorithms }),
	"ca_signature_algorithms":    algorithmList(func(t *Tunnel) *[]string { return &t.CASignatureAlgorithms }),
	"required_rsa_size":          one("<bits>", positive, func(t *Tunnel) *int { return &t.RequiredRSASize }),

	"permit_open": {Usage: "<host>:<port>...", repeats: true, least: 1, set: func(t *Tunnel, args []string) error {
		t.PermitOpen = append(t.PermitOpen, args...)
		return checkPatterns(args)
	}},
	"local_forward":   forwardOption(func(t *Tunnel) *[]*Forward { return &t.LocalForwards }),
	"remote_forward":  forwardOption(func(t *Tunnel) *[]*Forward { return &t.RemoteForwards }),
	"dynamic_forward": dynamicForwardOption,
}

// checkPatterns checks those of permit_open that have no placeholders, so that
// the error has the Caddyfile's line.
func checkPatterns(patterns []string) error {
	for _, s := range patterns {
		if !strings.ContainsAny(s, "{}") {
			if _, err := dialer.NewPermission("", []string{s}); err != nil {
				return err
			}
		}
	}
	return nil
}

// addHost takes a bastion's address in. One without placeholders is split and
// checked here, so that the error has the Caddyfile's line.
func (t *Tunnel) addHost(address string) error {
	if strings.ContainsAny(address, "{}") {
		t.Hosts = append(t.Hosts, address)
		return nil
	}
	server, err := hostport.ParseServer(address)
	if err != nil {
		return err
	}
	if server.User != "" && t.User != "" && (len(t.Hosts) == 0 || server.User != t.User) {
		return fmt.Errorf("%q: user is written as well; keep one", address)
	}
	t.Hosts = append(t.Hosts, server.Address())
	t.User = cmp.Or(server.User, t.User)
	return nil
}

// one is an option with one argument that can be parsed into a T.
func one[T any](usage string, parse func(string) (T, error), field func(*Tunnel) *T) Option {
	return Option{Usage: usage, least: 1, most: 1, set: func(t *Tunnel, args []string) (err error) {
		*field(t), err = parse(args[0])
		return err
	}}
}

// flag is an option that is on when its name stands alone.
func flag(set func(t *Tunnel, on bool)) Option {
	return Option{Usage: "[yes|no]", most: 1, set: func(t *Tunnel, args []string) error {
		switch {
		case len(args) == 0 || args[0] == "yes":
			set(t, true)
		case args[0] == "no":
			set(t, false)
		default:
			return fmt.Errorf("%q is neither yes nor no", args[0])
		}
		return nil
	}}
}

// several is a repeatable option with one argument or more.
func several(usage string, field func(*Tunnel) *[]string) Option {
	return Option{Usage: usage, repeats: true, least: 1, set: func(t *Tunnel, args []string) error {
		*field(t) = append(*field(t), args...)
		return nil
	}}
}

// key is a repeatable option for one key, which has a space in it when it is
// written out without its comment.
func key(usage string, field func(*Tunnel) *[]string) Option {
	return Option{Usage: usage, repeats: true, least: 1, set: func(t *Tunnel, args []string) error {
		if len(args) > 2 {
			return fmt.Errorf("%d arguments; write one key, its comment left out: %s", len(args), usage)
		}
		*field(t) = append(*field(t), strings.Join(args, " "))
		return nil
	}}
}

// algorithmList is an option for a list that may be separated by commas as well.
func algorithmList(field func(*Tunnel) *[]string) Option {
	return Option{Usage: "<algorithm>...", least: 1, set: func(t *Tunnel, args []string) error {
		for _, arg := range args {
			for name := range strings.SplitSeq(arg, ",") {
				if name == "" {
					return fmt.Errorf("%q has an empty entry", arg)
				}
				if strings.ContainsRune("+-^", rune(name[0])) {
					return fmt.Errorf("%q: lists are written out; leave the %q out and name all that are wanted", arg, name[0])
				}
				*field(t) = append(*field(t), name)
			}
		}
		return nil
	}}
}

// word takes an argument as it is.
func word(s string) (string, error) { return s, nil }

// positive parses a number above zero.
func positive(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a whole number above zero", s)
	}
	return n, nil
}

// positiveDuration parses a duration above zero.
func positiveDuration(s string) (caddy.Duration, error) {
	d, err := durationOrZero(s)
	if err != nil {
		return 0, err
	}
	if *d == 0 {
		return 0, fmt.Errorf("%q is not above zero", s)
	}
	return *d, nil
}

// durationOrZero parses a duration, for an option where zero is not the same
// as nothing.
func durationOrZero(s string) (*caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	if err != nil {
		if _, err := strconv.ParseFloat(s, 64); err == nil {
			return nil, fmt.Errorf("%q has no unit; write %ss", s, s)
		}
		return nil, fmt.Errorf("%q is not a duration; write one like 15s or 1h30m", s)
	}
	if d < 0 {
		return nil, fmt.Errorf("%q is negative", s)
	}
	if 0 < d && d < time.Millisecond {
		return nil, fmt.Errorf("%q is below 1ms", s)
	}
	return new(caddy.Duration(d)), nil
}

// size parses a number of bytes above zero.
func size(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a size; write one like 1GiB", s)
	}
	if n > maxRekeySize {
		return 0, fmt.Errorf("%q is too much; it is at most 32GiB", s)
	}
	return int64(n), nil
}
