package connect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"slices"
	"strings"

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

	// IdentityFiles are offered in this order. See
	// sshauth.IdentityFile.
	IdentityFiles []sshauth.IdentityFile

	// Identities are offered after IdentityFiles, in this order. See sshauth.Identity.
	Identities []sshauth.Identity `json:",omitempty"`

	// NoIdentityFiles is "identity_file none": no private key file is read,
	// the default ones included.
	NoIdentityFiles bool

	// CertificateFiles are OpenSSH certificates for keys among IdentityFiles
	// or in the agent, besides the "-cert.pub" beside each identity file.
	CertificateFiles []string

	// Certificates are OpenSSH certificates as texts, most often by a placeholder that
	// Resolve resolves. Each is for whichever key it names.
	Certificates []string `json:",omitempty"`

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

	// KnownHostsCommand writes known_hosts lines at each connect. See hostkey.Config.
	KnownHostsCommand *hostkey.Command `json:",omitempty"`

	// HostKeyAlias is looked up in KnownHosts and in a certificate's
	// principals instead of the host of Address.
	HostKeyAlias string

	// RevokedHostKeys are files of public keys, one a line, that are accepted
	// neither as the bastion's nor as its authority's, whatever the others say.
	RevokedHostKeys []string

	// AcceptNewHostKey is "strict_host_key_checking accept-new": where nothing
	// is known about the bastion, the first key that it shows is remembered in
	// State.KeyMemory, and no other is accepted from then on but for UpdateHostKeys.
	AcceptNewHostKey bool

	// UpdateHostKeys lets the bastion change which of its keys are remembered, over a
	// connection with one that is: see hostkey.Verifier.Update.
	UpdateHostKeys bool `json:",omitempty"`

	// TrustLoopback accepts any host key of a bastion at a loopback address, if nothing is
	// on the way to it.
	TrustLoopback bool `json:",omitempty"`

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

	// ProxyShell says that ProxyCommand is one string, for the user's shell;
	// ProxyUseFdpass, that it passes a connected socket. See dial.Dialer.
	ProxyShell, ProxyUseFdpass bool `json:",omitempty"`

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

// dialer returns how the bastion is reached.
func (cfg *Config) dialer() *dial.Dialer {
	return &dial.Dialer{
		Address: cfg.Address, User: cfg.User, Proxy: cfg.Proxy, Command: cfg.ProxyCommand, Shell: cfg.ProxyShell, Fdpass: cfg.ProxyUseFdpass,
		BindAddress: cfg.BindAddress, AddressFamily: cfg.AddressFamily, DialContext: cfg.DialContext, Secret: cfg.secret,
	}
}

// hostKeys returns which host keys the bastion may have.
func (cfg *Config) hostKeys() *hostkey.Config {
	return &hostkey.Config{
		Address: cfg.Address, KnownHosts: cfg.KnownHosts, HostKeys: cfg.HostKeys, HostCertificateAuthorities: cfg.HostCertificateAuthorities,
		KnownHostsCommand: cfg.KnownHostsCommand, HostKeyAlias: cfg.HostKeyAlias, RevokedHostKeys: cfg.RevokedHostKeys,
		AcceptNewHostKey: cfg.AcceptNewHostKey, UpdateHostKeys: cfg.UpdateHostKeys,
		TrustLoopback:         cfg.TrustLoopback && cfg.Proxy == nil && len(cfg.ProxyCommand) == 0,
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

// ProxyCommandName returns what logs show of ProxyCommand: its program.
func (cfg *Config) ProxyCommandName() string { return cfg.dialer().CommandName() }

// Auth returns what the tunnel authenticates with.
func (cfg *Config) Auth() *sshauth.Config {
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		host = cfg.Address
	}
	label, _, _ := strings.Cut(host, ".")
	return &sshauth.Config{
		User: cfg.User, Names: []string{host, label, cfg.HostKeyAlias},
		IdentityFiles: cfg.IdentityFiles, Identities: cfg.Identities, NoIdentityFiles: cfg.NoIdentityFiles,
		CertificateFiles: cfg.CertificateFiles, Certificates: cfg.Certificates, OptionalCertificates: cfg.OptionalCertificates,
		IdentityAgent: cfg.IdentityAgent, IdentitiesOnly: cfg.IdentitiesOnly,
		Password: cfg.Password, PreferredAuthentications: cfg.PreferredAuthentications,
		Lists: cfg.Lists, Resolve: cfg.Resolve,
	}
}

// Addresses are those of all bastions, in order of preference.
func (cfg *Config) Addresses() []string {
	return append([]string{cfg.Address}, cfg.Fallbacks...)
}

// EachHost returns the configurations for each of the bastions alone, in order of
// preference.
func (cfg *Config) EachHost() (each []Config) {
	for _, address := range cfg.Addresses() {
		alone := *cfg
		alone.Address, alone.Fallbacks = address, nil
		each = append(each, alone)
	}
	return each
}

// Key identifies the tunnel that cfg describes when jumped through the tunnel
// with the key jump ("" for none). It is a digest: it shows no secret.
func (cfg *Config) Key(jump string) string {
	// Marshalling a struct of strings, numbers and lists of them cannot fail.
	b, _ := json.Marshal(cfg)
	sum := sha256.Sum256(append(append(b, 0), jump...))
	return cfg.Name + "/" + hex.EncodeToString(sum[:])
}

// ApplyDefaults fills in what is not written as ssh does for a user whose home
// directory is home. Without a home ("") only the system's known_hosts files
// and the agent are left.
//
// What to authenticate with is filled in as sshauth.Config.ApplyDefaults says.
//
// As soon as a known_hosts file, a host key or an authority is written, the
// default known_hosts files are not read.
func (cfg *Config) ApplyDefaults(home string) {
	auth := cfg.Auth()
	auth.ApplyDefaults(home)
	cfg.IdentityFiles, cfg.IdentityAgent, cfg.IdentitiesOnly = auth.IdentityFiles, auth.IdentityAgent, auth.IdentitiesOnly
	if len(cfg.KnownHosts)+len(cfg.HostKeys)+len(cfg.HostCertificateAuthorities) == 0 {
		user, system := hostkey.DefaultKnownHosts(home)
		cfg.KnownHosts = slices.Concat(user, system)
	}
}

// Files returns every path whose change could change how a connect ends.
func (cfg *Config) Files() []string { return append(cfg.Auth().Files(), cfg.hostKeys().Files()...) }
