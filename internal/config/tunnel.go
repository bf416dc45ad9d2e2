package config

import "github.com/caddyserver/caddy/v2"

// Tunnel describes SSH connections to a bastion: its address, the login, its host
// keys, and when to reconnect. An option that has an ssh_config(5) keyword has its
// name and meaning.
//
// With only a host, it logs in as `ssh host` does for the user that Caddy runs as.
//
// Strings take placeholders, which are replaced when the configuration is
// loaded. One that is unknown or empty is an error. Secrets are replaced each
// time the tunnel connects. In paths, `~/` is $HOME, or else the home directory
// of the user that Caddy runs as.
//
// A duration is a string such as `"15s"`, or a number of nanoseconds. A negative
// duration is an error, and so is one between 0 and 1ms. 0 means the default,
// unless the option says otherwise.
type Tunnel struct {
	// The bastion's address: `[user@]host[:port]`, with IPv6 addresses in brackets.
	// The default port is 22. If there are several bastions, the tunnel uses the
	// first that answers and accepts the login, and returns to a preferred one as
	// soon as that answers again. Each has its own host key. A duplicate is an
	// error. Required, unless `ssh_config` is set.
	Hosts []string `json:"hosts,omitempty"`

	// The user to log in as. It is an error if `hosts` has a user as well. Default:
	// the user in `hosts`, or else the user that Caddy runs as, which Caddy logs.
	User string `json:"user,omitempty"`

	// Where in ssh_config(5) files to look up what is not set here: address,
	// user, keys, known hosts, the hosts to jump through and more. Default:
	// nowhere, these files are not read.
	SSHConfig *SSHConfig `json:"ssh_config,omitempty"`

	// Private keys to log in with, offered in this order. If you set keys,
	// certificates, an agent or a password, the tunnel offers nothing else. The
	// tunnel waits for a file that does not exist. A file that cannot be read is an
	// error. Default: the standard `~/.ssh/id_*` files, and the agent's keys.
	IdentityFiles []IdentityFile `json:"identity_files,omitempty"`

	// Private keys to log in with that are in no file: their text, by a placeholder, or
	// a key that Caddy generates. They are offered in this order, after those of
	// `identity_files`. Default: none.
	Identities []Identity `json:"identities,omitempty"`

	// Paths of OpenSSH certificates for these keys or the agent's. You do not need
	// to list the certificate beside an identity file (`<path>-cert.pub`). Default:
	// none.
	CertificateFiles []string `json:"certificate_files,omitempty"`

	// OpenSSH certificates as texts: write placeholders. Each is for the key that it
	// names, whichever option has that. They are read as the keys in `identities` are.
	// Default: none.
	Certificates []string `json:"certificates,omitempty"`

	// The path of the agent's socket (on Windows, of its named pipe),
	// `SSH_AUTH_SOCK` for the socket that this environment variable names, or
	// `none`. Default: `SSH_AUTH_SOCK`; `none` if a password is set, but no identity
	// or certificate file.
	IdentityAgent string `json:"identity_agent,omitempty"`

	// The password, also for a keyboard-interactive dialogue with one hidden
	// password prompt. It is a secret: write a placeholder such as `{env.PASSWORD}`
	// or `{file./run/secrets/password}`, since `/config/` shows a literal password.
	// Default: none.
	Password string `json:"password,omitempty"`

	// Whether to offer only the agent's keys that an identity or a certificate
	// names. Default: true if one of these is set and `identity_agent` is
	// not, otherwise false.
	IdentitiesOnly *bool `json:"identities_only,omitempty"`

	// Paths of known_hosts files. The tunnel accepts a key that any of
	// `known_hosts`, `host_keys` and `host_certificate_authorities` lists. It always
	// refuses a key that a file marks @revoked. Default: the user's and the system's
	// known_hosts files, unless one of the three is set.
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

	// Whether the bastion's host key must be known: `yes`, `accept-new` or `no`.
	// With `accept-new`, if nothing is known about the bastion, Caddy remembers its
	// first key in its storage and then accepts no other, except for
	// `update_host_keys`. With `no`, Caddy accepts any key; this is an error together
	// with a password. Default: `yes`.
	StrictHostKeyChecking string `json:"strict_host_key_checking,omitempty"`

	// Whether keys that Caddy remembers because of `accept-new` follow a planned
	// rotation of the bastion's keys. The bastion announces its keys over a connection
	// with a key that Caddy remembers, and proves that it has the new ones. Default:
	// true.
	UpdateHostKeys *bool `json:"update_host_keys,omitempty"`

	// Paths of files of public keys, one a line, that are never accepted as the key
	// of the bastion or of its authority. Binary KRLs are an error. Default: none.
	RevokedHostKeys []string `json:"revoked_host_keys,omitempty"`

	// The name of the tunnel through which to reach this tunnel's bastion. A circle
	// is an error. `proxy_jump`, `proxy` and `proxy_command` exclude each other.
	// Default: none, Caddy dials the bastion directly.
	ProxyJump string `json:"proxy_jump,omitempty"`

	// A proxy to reach the bastion through: `socks5://[user:password@]host:port` or
	// `http://[user:password@]host:port`. An HTTP proxy must allow CONNECT. The port
	// is required. User and password are secrets: write placeholders. Default: none.
	Proxy string `json:"proxy,omitempty"`

	// A command, with its arguments, whose standard input and output are the
	// connection to the bastion. No shell reads it. In each argument `%h`, `%p`
	// and `%r` are the bastion's host, its port and the user, and `%%` is a %.
	// Refused unless the environment variable
	// `CADDY_SSH_TUNNEL_ALLOW_COMMANDS` is 1. Default: none.
	ProxyCommand []string `json:"proxy_command,omitempty"`

	// The local IP address to connect from. An error together with
	// `proxy_command`. Default: the system's choice.
	BindAddress string `json:"bind_address,omitempty"`

	// Which of the bastion's addresses to connect to: `any`, `inet` (IPv4) or
	// `inet6`. Default: `any`.
	AddressFamily string `json:"address_family,omitempty"`

	// The longest time for the connect to one hop: TCP, key exchange and
	// authentication. Default: `10s`.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// How long the bastion may be silent before Caddy probes it. 0 turns probes off.
	// Default: `15s`.
	ServerAliveInterval *caddy.Duration `json:"server_alive_interval,omitempty"`

	// How many probes in a row, one each `server_alive_interval`, may stay
	// unanswered before Caddy closes the connection. With the defaults, it closes
	// after a minute of silence. Default: 3.
	ServerAliveCountMax int `json:"server_alive_count_max,omitempty"`

	// How long to wait before a reconnect. Default: from `250ms` to `30s`.
	ReconnectDelay *ReconnectDelay `json:"reconnect_delay,omitempty"`

	// How long the requests and streams on a replaced connection may continue. 0
	// ends them at once. Default: `1h`.
	DrainTimeout *caddy.Duration `json:"drain_timeout,omitempty"`

	// How many connections to keep. Default: at least 1, and up to 8 if channels
	// need them.
	Connections *Connections `json:"connections,omitempty"`

	// When to replace a connection. `ssh` exchanges its keys again instead.
	// Default: after 32 GiB.
	RekeyLimit *RekeyLimit `json:"rekey_limit,omitempty"`

	// Whether to connect at first use instead of at the start. A health check counts
	// as use, and so does a remote forward or a site on the bastion. Default: false.
	Lazy bool `json:"lazy,omitempty"`

	// How long a lazy tunnel has no open channel before it disconnects until its next use. A
	// tunnel with a remote forward or a site on the bastion stays connected.
	// For example `15m`. Default: never.
	LazyTimeout caddy.Duration `json:"lazy_timeout,omitempty"`

	// Key exchange algorithms, in order of preference. In this list and those below,
	// an unknown algorithm is an error, and a broken one causes a warning. Default:
	// those that Go's SSH library considers secure.
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

	// The smallest size in bits of RSA keys, both the bastion's and Caddy's: 1024 to
	// 16384. Default: 2048.
	RequiredRSASize int `json:"required_rsa_size,omitempty"`

	// The targets that may be dialed through this tunnel: `host:port` or
	// `unix//path`. A host is a name, `*.<name>` for the names below it, an IP
	// address, a network such as `10.0.0.0/8`, or `*`. A port is a number, a range
	// such as `8000-8999`, or `*`. A path may end in `*`. A target in the
	// configuration that is not in the list is an error, and so is an empty list.
	// Upstreams with placeholders need this option. Default: every target.
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

// SSHConfig names the ssh_config(5) files for the options that a tunnel does not
// set. Caddy reads the files when it loads the configuration. It executes nothing
// in them unless its environment allows it (see `proxy_command`).
type SSHConfig struct {
	// The host to look up, as in `ssh <host>`. Required.
	Alias string `json:"alias"`

	// The path of the only file to read. It is an error if the file does not exist.
	// Default: `~/.ssh/config` and `/etc/ssh/ssh_config`.
	File string `json:"file,omitempty"`
}

// IdentityFile is a private key to log in with.
type IdentityFile struct {
	// The path of a private key in OpenSSH or PEM format, or of a public key (.pub)
	// whose private key the agent has. If the private key does not exist, Caddy
	// reads the `.pub` file beside it. `none`, as the only entry, reads no key file.
	// The text of a key is an error, which does not show the text: see `identities`.
	// Required.
	Path string `json:"path"`

	// The passphrase of an encrypted key. It is a secret: write a placeholder.
	// Default: none, so the agent must hold an encrypted key.
	Passphrase string `json:"passphrase,omitempty"`
}

// Identity is a private key to log in with that is in no file.
type Identity struct {
	// The text of a private key in OpenSSH or PEM format, as the file has it. It is a
	// secret: write a placeholder such as `{env.BASTION_KEY}` or
	// `{file./run/secrets/key}`, since `/config/` shows a literal key. Line breaks may
	// be `\n`, carriage returns or spaces, and the whole text may be in base64. Caddy
	// reads it each time it connects, and watches the file of a `{file.*}` placeholder.
	// Required, unless `auto` is set.
	Key string `json:"key,omitempty"`

	// The passphrase of an encrypted key. It is a secret: write a placeholder.
	// Default: none.
	Passphrase string `json:"passphrase,omitempty"`

	// Whether Caddy generates the key, an Ed25519 key, when it first connects. It keeps
	// the key in its storage, under the tunnel's name, so all Caddy instances with the
	// same storage have the same key. One entry at most. Default: false.
	Auto bool `json:"auto,omitempty"`
}

// ReconnectDelay limits the delay before a reconnect, which grows with each
// failure and is jittered. A `min` above `max` is an error.
type ReconnectDelay struct {
	// The first delay. Default: `250ms`.
	Min caddy.Duration `json:"min,omitempty"`

	// The longest delay. Default: `30s`.
	Max caddy.Duration `json:"max,omitempty"`
}

// Connections is how many connections a tunnel keeps. Caddy opens those above the
// least number in the background, one at a time, when there are both requests and
// streams, or more channels than a connection serves well. It closes them after
// they have been idle for a minute.
type Connections struct {
	// The least number of connections. Default: 1.
	Min int `json:"min,omitempty"`

	// The greatest number of connections. Less than `min` is an error. Default:
	// `min`.
	Max int `json:"max,omitempty"`
}

// RekeyLimit says when to replace a connection.
type RekeyLimit struct {
	// The number of bytes, in both directions together. More than the default is an
	// error. Default: 34359738368 (32 GiB).
	Size int64 `json:"size,omitempty"`

	// The age of the connection, such as `1h`. Default: no limit.
	Interval caddy.Duration `json:"interval,omitempty"`
}
