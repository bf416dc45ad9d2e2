package tunnel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

// Config says where a tunnel connects and as whom. Two tunnels of the same
// name with the same Config and the same jump are one and the same tunnel:
// they share their connections across configurations (see Key). File contents
// are no part of it: files are read anew at each connect.
//
// Fields are named after their ssh_config(5) keyword where one exists.
type Config struct {
	// Name is the tunnel's name. It appears in every error and log line.
	Name string

	// Address is the bastion's "host:port". The host is resolved anew at each
	// connect, by the bastion before it where the tunnel has a jump.
	Address string

	// Fallbacks are the addresses of other bastions, in order, each with its own
	// host key: for when the one of Address, and those before it, do not answer
	// or do not let us in.
	Fallbacks []string `json:",omitempty"`

	// User is the login name on the bastion.
	User string

	// IdentityFiles are offered in this order. See IdentityFile.
	IdentityFiles []IdentityFile

	// NoIdentityFiles is "identity_file none": no private key file is read,
	// the default ones included.
	NoIdentityFiles bool

	// CertificateFiles are OpenSSH certificates for keys among IdentityFiles
	// or in the agent, besides the "-cert.pub" beside each identity file.
	CertificateFiles []string

	// OptionalCertificates marks CertificateFiles of an ssh_config: one that
	// cannot be used is left out with a warning.
	OptionalCertificates bool `json:"-"`

	// IdentityAgent is the path of the agent's socket or, on Windows, named pipe,
	// "none" for no agent, or "SSH_AUTH_SOCK" for what this environment variable
	// names. Where that is not set, on Windows, it is the pipe of the agent that
	// comes with it, if that runs.
	IdentityAgent string

	// IdentitiesOnly keeps keys of the agent from being offered unless an
	// identity or certificate file names them.
	IdentitiesOnly bool

	// Password is a secret (see Resolve) for the method "password" and for a
	// "keyboard-interactive" dialogue that has one hidden password prompt.
	Password string

	// PreferredAuthentications are the methods to try, in this order. If nil, those of
	// ssh. Those that Password is for come last if it is set and they are not listed.
	PreferredAuthentications []string `json:",omitempty"`

	// KnownHosts are known_hosts files (sshd(8)). Absent ones count as empty.
	KnownHosts []string

	// HostKeys are keys that the bastion may have: "SHA256:<fingerprint>" or
	// "<type> <base64>".
	HostKeys []string

	// HostCertificateAuthorities are keys that may have signed the bastion's
	// host certificate: "<type> <base64>" or the path of a .pub file.
	HostCertificateAuthorities []string

	// HostKeyAlias is looked up in KnownHosts and in a certificate's
	// principals instead of the host of Address.
	HostKeyAlias string

	// RevokedHostKeys are files of public keys, one a line, that are accepted
	// neither as the bastion's nor as its authority's, whatever the others say.
	RevokedHostKeys []string

	// AcceptNewHostKey is "strict_host_key_checking accept-new": where nothing
	// is known about the bastion, the first key that it shows is remembered in
	// Settings.KeyMemory, and no other is accepted from then on.
	AcceptNewHostKey bool

	// InsecureIgnoreHostKey is "strict_host_key_checking no".
	InsecureIgnoreHostKey bool

	// Proxy is what the bastion is reached through, or nil.
	Proxy *dial.Proxy `json:",omitempty"`

	// ProxyCommand is a command, with its arguments, whose standard input and
	// output are the connection to the bastion; no shell reads it. In each
	// argument %h, %p and %r stand for the bastion's host and port and User, %%
	// for a %. There is none if it is empty. Whether it may be executed is the
	// caller's to decide.
	ProxyCommand []string `json:",omitempty"`

	// BindAddress is the local IP address to connect from, or "".
	BindAddress string

	// AddressFamily is "any" (or ""), "inet" or "inet6".
	AddressFamily string

	// Lists are the algorithms. Validated by Check.
	algorithms.Lists

	// DialContext connects to the bastion. If nil, a net.Dialer does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error) `json:"-"`

	// Resolve turns a secret as it was configured (Password, a Passphrase) into
	// its value. It is called at each connect, so a rotated secret is seen. If
	// nil, secrets stand for themselves.
	Resolve func(secret string) (string, error) `json:"-"`
}

// IdentityFile is a private key to authenticate with. It is an alias, so that who writes a
// Config needs no other package.
type IdentityFile = sshauth.IdentityFile

// Settings are what may change about a tunnel while it is connected. The
// newest started Handle's Settings are in force.
type Settings struct {
	// Logger is where the tunnel's state changes go. If nil, nowhere.
	Logger *zap.Logger

	// Observer, if not nil, gets what happens to the tunnel.
	Observer Observer

	// KeyMemory is where host keys are remembered; see Config.AcceptNewHostKey.
	// If nil, none is, and one that is new is refused.
	KeyMemory hostkey.Memory

	// ConnectTimeout bounds one connect to one hop: TCP, key exchange and
	// authentication. If zero, 10s.
	ConnectTimeout time.Duration

	// ServerAliveInterval is how long the bastion may be silent before it is
	// probed. If zero or negative, it is not.
	ServerAliveInterval time.Duration

	// ServerAliveCountMax is how many probes in a row may stay unanswered
	// before the connection is closed. If zero or negative, 3.
	ServerAliveCountMax int

	// ReconnectMin and ReconnectMax bound the delay before a reconnect. If
	// zero, 250ms and 30s.
	ReconnectMin, ReconnectMax time.Duration

	// DrainTimeout is how long the channels of a replaced connection, or of a
	// tunnel that no configuration has any more, may go on. If zero, 1h; if
	// negative, they may not.
	DrainTimeout time.Duration

	// Linger is how long a tunnel that no configuration has any more, and that
	// has no open channel, keeps its connections: the last requests may still
	// dial. If zero, 10s; if negative, not at all.
	Linger time.Duration

	// ReturnAfter is how long a host before the one in use must have answered
	// again for the tunnel to return to it: it is probed this often, and must
	// answer twice. If zero, 30s.
	ReturnAfter time.Duration

	// RekeyBytes is after how many bytes, both ways together, a connection is
	// replaced. If zero, or above it, 32 GiB: x/crypto/ssh must never have to
	// rekey by itself, and 32 GiB in the smallest packets are fewer than 2^30.
	RekeyBytes int64

	// RekeyInterval is after how long a connection is replaced. If zero, never.
	RekeyInterval time.Duration

	// MinConnections is how many connections are kept, MaxConnections how many
	// there are at most. If zero, 1, and 8 or MinConnections if that is more. Up
	// to MaxConnections they are opened as channels need them, and closed when
	// none does.
	MinConnections, MaxConnections int

	// Lazy tunnels connect at first use, and not again before the next.
	Lazy bool
}

// dialer returns how the bastion is reached.
func (cfg *Config) dialer() *dial.Dialer {
	return &dial.Dialer{
		Address: cfg.Address, User: cfg.User, Proxy: cfg.Proxy, Command: cfg.ProxyCommand,
		BindAddress: cfg.BindAddress, AddressFamily: cfg.AddressFamily, DialContext: cfg.DialContext, Secret: cfg.secret,
	}
}

// hostKeys returns which host keys the bastion may have.
func (cfg *Config) hostKeys() *hostkey.Config {
	return &hostkey.Config{
		Address: cfg.Address, KnownHosts: cfg.KnownHosts, HostKeys: cfg.HostKeys, HostCertificateAuthorities: cfg.HostCertificateAuthorities,
		HostKeyAlias: cfg.HostKeyAlias, RevokedHostKeys: cfg.RevokedHostKeys, AcceptNewHostKey: cfg.AcceptNewHostKey,
		InsecureIgnoreHostKey: cfg.InsecureIgnoreHostKey, Lists: cfg.Lists,
	}
}

// HostKeyWarnings says what is not read of the files that the bastion's host key is
// verified against.
func (cfg *Config) HostKeyWarnings() []string { return cfg.hostKeys().Warnings() }

// secret resolves a secret, which what describes.
func (cfg *Config) secret(what, raw string) (string, error) {
	return readfile.Secret(what, raw, cfg.Resolve)
}

// auth returns what the tunnel authenticates with.
func (cfg *Config) auth() *sshauth.Config {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		host = cfg.Address
	}
	label, _, _ := strings.Cut(host, ".")
	return &sshauth.Config{
		User: cfg.User, Names: []string{host, label, cfg.HostKeyAlias},
		IdentityFiles: cfg.IdentityFiles, NoIdentityFiles: cfg.NoIdentityFiles,
		CertificateFiles: cfg.CertificateFiles, OptionalCertificates: cfg.OptionalCertificates,
		IdentityAgent: cfg.IdentityAgent, IdentitiesOnly: cfg.IdentitiesOnly,
		Password: cfg.Password, PreferredAuthentications: cfg.PreferredAuthentications,
		Lists: cfg.Lists, Resolve: cfg.Resolve,
	}
}

// Key identifies the tunnel that cfg describes when jumped through the tunnel
// with the key jump ("" for none). It is a digest: it shows no secret.
func (cfg *Config) Key(jump string) string {
	// Marshalling a struct of strings, numbers and lists of them cannot fail.
	b, _ := json.Marshal(cfg)
	sum := sha256.Sum256(append(append(b, 0), jump...))
	return cfg.Name + "/" + hex.EncodeToString(sum[:])
}
