package config

// tunnel.go contains a tunnel's configuration. resolve.go makes use of it.

import "github.com/caddyserver/caddy/v2"

// Tunnel is a bastion: where it is, how to log in to it, how to verify it, and how
// to stay connected. Options are named after their ssh_config(5) keyword
// wherever one exists, and mean the same.
//
// With nothing but a host it behaves like `ssh host`, run by the same user.
//
// Strings take placeholders, which are replaced when the configuration is
// loaded. One that is unknown or empty is an error. Secrets are replaced each
// time the tunnel connects. In paths, `~/` is $HOME, or else the home directory
// of the user that Caddy runs as.
//
// A duration is a string such as `"15s"`, or a number of nanoseconds. One that is
// negative, or below 1ms and not 0, is an error. 0 is the default, unless the
// option says otherwise.
type Tunnel struct {
	// The bastion's address: `[user@]host[:port]`, an IPv6 address in brackets.
	// The port is 22 if it is not written. If there are several, the tunnel uses
	// the first that answers and accepts the login. It goes back to one before
	// that as soon as it can. Each has its own host key. The same one twice is an
	// error. Required, unless `ssh_config` is set.
	Hosts []string `json:"hosts,omitempty"`

	// The user to log in as. An error if one of the hosts has a user, too. Default:
	// the hosts' user, or else the user that Caddy runs as, which is logged.
	User string `json:"user,omitempty"`

	// Where in ssh_config(5) files to look up what is not set here: address,
	// user, keys, known hosts, the hosts to jump through and more. Default:
	// nowhere, these files are not read.
	SSHConfig *SSHConfig `json:"ssh_config,omitempty"`

	// Private keys to log in with, offered in this order. Once these, a
	// certificate, an agent or a password are set, nothing else is offered. The
	// tunnel waits for a file that does not exist. One that cannot be read is an
	// error. Default: the standard `~/.ssh/id_*` files, and the agent's keys.
	IdentityFiles []IdentityFile `json:"identity_files,omitempty"`

	// Paths of OpenSSH certificates for these keys or the agent's. The one
	// beside an identity file (`<path>-cert.pub`) need not be named. Default: none.
	CertificateFiles []string `json:"certificate_files,omitempty"`

	// The path of the agent's socket (on Windows, of its named pipe),
	// `SSH_AUTH_SOCK` for the one that this environment variable names, or `none`.
	// Default: `SSH_AUTH_SOCK`; `none` if a password is set and no identity or
	// certificate file.
	IdentityAgent string `json:"identity_agent,omitempty"`

	// The password, also for a keyboard-interactive dialogue with one hidden
	// password prompt. A secret: write a placeholder such as `{env.PASSWORD}` or
	// `{file./run/secrets/password}`, since anything else shows in `/config/`.
	// Default: none.
	Password string `json:"password,omitempty"`

	// Whether to offer only the agent's keys that an identity or certificate
	// file names. Default: true if one of these is set and `identity_agent` is
	// not, otherwise false.
	IdentitiesOnly *bool `json:"identities_only,omitempty"`

	// Paths of known_hosts files. This, `host_keys` and
	// `host_certificate_authorities` add up; a key that one of the files marks
	// @revoked is refused whatever the others say. Default: the user's and the
	// system's known_hosts files, unless one of the three is set.
	KnownHosts []string `json:"known_hosts,omitempty"`

	// Keys that the bastion may have: `SHA256:<fingerprint>`, or
	// `<type> <base64>`. Default: none; see `known_hosts`.
	HostKeys []string `json:"host_keys,omitempty"`

	// Keys that may have signed the bastion's host certificate:
	// `<type> <base64>`, or the path of a file of such keys, one a line. Default:
	// none; see `known_hosts`.
	HostCertificateAuthorities []string `json:"host_certificate_authorities,omitempty"`

	// The name to look for in known_hosts and among a host certificate's
	// principals. Default: the bastion's host.
	HostKeyAlias string `json:"host_key_alias,omitempty"`

	// Whether the bastion's host key must be known: `yes`; `accept-new` to
	// remember the first one in Caddy's storage, where nothing else is known
	// about the bastion, and to accept no other from then on; or `no` to connect
	// to anyone who answers. `no` is refused together with a password. Default:
	// `yes`.
	StrictHostKeyChecking string `json:"strict_host_key_checking,omitempty"`

	// Paths of files of keys that are accepted neither as the bastion's nor as
	// its authority's, whatever the rest says: public keys, one a line. Binary
	// KRLs are refused. Default: none.
	RevokedHostKeys []string `json:"revoked_host_keys,omitempty"`

	// The name of the tunnel through which to reach this one's bastion. A circle
	// is an error, and so is more than one of this, `proxy` and `proxy_command`.
	// Default: none, the bastion is dialed directly.
	ProxyJump string `json:"proxy_jump,omitempty"`

	// A proxy to reach the bastion through: `socks5://[user:password@]host:port`,
	// or `http://` likewise, which has to allow CONNECT. The port has no default.
	// User and password are secrets: write placeholders. Default: none.
	Proxy string `json:"proxy,omitempty"`

	// A command, with its arguments, whose standard input and output are the
	// connection to the bastion. No shell reads it. In each argument `%h`, `%p`
	// and `%r` are the bastion's host, its port and the user, and `%%` is a %.
	// Refused unless the environment variable
	// `CADDY_SSH_TUNNEL_ALLOW_PROXY_COMMAND` is 1. Default: none.
	ProxyCommand []string `json:"proxy_command,omitempty"`

	// The local IP address to connect from. An error together with
	// `proxy_command`. Default: the system's choice.
	BindAddress string `json:"bind_address,omitempty"`

	// Which of the bastion's addresses to connect to: `any`, `inet` (IPv4) or
	// `inet6`. Default: `any`.
	AddressFamily string `json:"address_family,omitempty"`

	// How long the connect to one hop may take: TCP, key exchange and
	// authentication. Default: `10s`.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// How long the bastion may be silent before it is probed. 0 is never.
	// Default: `15s`.
	ServerAliveInterval *caddy.Duration `json:"server_alive_interval,omitempty"`

	// How many probes in a row, each `server_alive_interval` after the one before,
	// may stay unanswered before the connection counts as lost: with the defaults,
	// that is after a minute of silence. Default: 3.
	ServerAliveCountMax int `json:"server_alive_count_max,omitempty"`

	// How long to wait before a reconnect. Default: from `250ms` to `30s`.
	ReconnectDelay *ReconnectDelay `json:"reconnect_delay,omitempty"`

	// How long the requests and streams on a replaced connection may continue. 0
	// ends them at once. Default: `1h`.
	DrainTimeout *caddy.Duration `json:"drain_timeout,omitempty"`

	// How many connections to keep. Default: 1, and up to 8 as channels need
	// them.
	Connections *Connections `json:"connections,omitempty"`

	// When to replace a connection. `ssh` exchanges its keys again instead.
	// Default: after 32 GiB.
	RekeyLimit *RekeyLimit `json:"rekey_limit,omitempty"`

	// Whether to connect at first use rather than at once. A health check is a
	// use, and so is a remote forward or a site on the bastion. Default: false.
	Lazy bool `json:"lazy,omitempty"`

	// Key exchange algorithms, in order of preference. In this list and those
	// below, one that is not known is an error, and one that is known to be broken
	// a warning. Default: those that Go's SSH library considers secure.
	KexAlgorithms []string `json:"kex_algorithms,omitempty"`

	// Ciphers, in order of preference. Default: those that Go's SSH library
	// considers secure, AES-GCM first.
	Ciphers []string `json:"ciphers,omitempty"`

	// Message authentication codes, in order of preference. Default: those that
	// Go's SSH library considers secure, without SHA-1.
	MACs []string `json:"macs,omitempty"`

	// Signature algorithms of the bastion's host key. Those of known keys go first.
	// Default: those that Go's SSH library considers secure.
	HostKeyAlgorithms []string `json:"host_key_algorithms,omitempty"`

	// Signature algorithms to log in with. Default: those that Go's SSH library
	// considers secure.
	PubkeyAcceptedAlgorithms []string `json:"pubkey_accepted_algorithms,omitempty"`

	// Signature algorithms that a certificate authority may have signed with.
	// Default: those that Go's SSH library considers secure.
	CASignatureAlgorithms []string `json:"ca_signature_algorithms,omitempty"`

	// The least size of RSA keys in bits, for the bastion's and Caddy's own: from
	// 1024 to 16384. Default: 2048.
	RequiredRSASize int `json:"required_rsa_size,omitempty"`

	// Which targets may be dialed through this tunnel, by whatever does that:
	// `host:port` or `unix//path`. A host is a name, `*.<name>` for the names
	// below it, an IP address, a network such as `10.0.0.0/8`, or `*`; a port is a
	// number, a range such as `8000-8999`, or `*`; a path may end in `*`. A target
	// that is written in the configuration and not among these is an error, and so
	// is an empty list. Upstreams with placeholders need it. Default: every target.
	PermitOpen []string `json:"permit_open,omitempty"`

	// Addresses here whose connections are forwarded to a target that the
	// bastion reaches, as with `ssh -L`. Default: none.
	LocalForwards []*Forward `json:"local_forwards,omitempty"`

	// Addresses on the bastion whose connections are forwarded to a target that
	// this machine reaches, as with `ssh -R`. Default: none.
	RemoteForwards []*Forward `json:"remote_forwards,omitempty"`

	// SOCKS5 servers here whose clients reach what the bastion does, as with
	// `ssh -D`. Default: none.
	DynamicForwards []*DynamicForward `json:"dynamic_forwards,omitempty"`
}

// SSHConfig is where to look up what a tunnel does not set itself. The files are
// read when the configuration is loaded. Nothing in them is executed, except a
// ProxyCommand where that is allowed (see `proxy_command`).
type SSHConfig struct {
	// The host to look up, as after `ssh`. Required.
	Alias string `json:"alias"`

	// The path of the file to read, and no other. An error if it does not exist.
	// Default: `~/.ssh/config` and `/etc/ssh/ssh_config`.
	File string `json:"file,omitempty"`
}

// IdentityFile is a private key to log in with.
type IdentityFile struct {
	// The path of a private key in OpenSSH or PEM form; of a public key (.pub)
	// whose private half the agent has, which is read in place of an absent
	// private key, too; or `none`, alone, to read no key file.
	// The text of a key is an error, which does not show it. Required.
	Path string `json:"path"`

	// The passphrase of an encrypted key. A secret: write a placeholder. Default:
	// none, the agent has to hold an encrypted key.
	Passphrase string `json:"passphrase,omitempty"`
}

// ReconnectDelay bounds the wait before a reconnect, which grows with each
// failure and is jittered. A first delay above the longest is an error.
type ReconnectDelay struct {
	// The first delay. Default: `250ms`.
	Min caddy.Duration `json:"min,omitempty"`

	// The longest delay. Default: `30s`.
	Max caddy.Duration `json:"max,omitempty"`
}

// Connections is how many connections a tunnel keeps. Those above the least number
// are opened in the background, one at a time, when there are requests beside
// streams, or more channels than a connection serves well. They are closed when
// they have been idle for a minute.
type Connections struct {
	// The least number of connections. Default: 1.
	Min int `json:"min,omitempty"`

	// The greatest number of connections. Less than `min` is an error. Default:
	// `min`, so that 1 alone is exactly one.
	Max int `json:"max,omitempty"`
}

// RekeyLimit is when a connection is replaced.
type RekeyLimit struct {
	// After how many bytes, both ways together. More than the default is an
	// error. Default: 34359738368 (32 GiB).
	Size int64 `json:"size,omitempty"`

	// After how long, such as `1h`. Default: never.
	Interval caddy.Duration `json:"interval,omitempty"`
}
