package config

// sshconfig.go takes what ssh_config(5) files say about a tunnel's bastion, and
// about the hosts on the way to it, where the tunnel's own options say nothing.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// NewSSHConfigReader returns what reads ssh_config(5) files for all tunnels of
// a configuration, so that what is ignored in them is logged once.
func NewSSHConfigReader(logger *zap.Logger) *sshconfig.Reader {
	files := &sshconfig.Reader{
		Home: HomeDir(),
		User: LoginName(),
		Warn: func(warning string) { logger.Warn("ssh_config: " + warning) },
	}
	if subprocess.Supported && subprocess.Allowed() {
		files.Exec = matchExec(logger, execTimeout)
	}
	files.Hostname, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		files.UID = u.Uid
	}
	return files
}

// execTimeout is how long a Match exec may take.
const execTimeout = 10 * time.Second

// matchExec returns what executes a Match exec, as ssh does.
func matchExec(logger *zap.Logger, timeout time.Duration) func(command string) (success bool, err error) {
	return func(command string) (bool, error) {
		ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, errors.New(timeout.String()))
		defer cancel()
		c := subprocess.Command{Option: "Match exec", Name: subprocess.Program(command), Args: subprocess.Shell(command), Log: logger}
		err := c.Run(ctx)
		if status, ok := subprocess.Status(err); ok {
			return status == 0, nil
		}
		return err == nil, err
	}
}

// readSSHConfig returns what the files say about the tunnel's alias, or nil if
// it has none. What the tunnel says about where it goes counts before the files,
// for their own conditions and tokens as well.
func (t *Tunnel) readSSHConfig(r *resolver, files *sshconfig.Reader, logger *zap.Logger) *sshconfig.Host {
	if t.SSHConfig == nil {
		return nil
	}
	const option = "ssh_config"
	alias, file := r.value(option, t.SSHConfig.Alias), r.path(option, t.SSHConfig.File)
	var written sshconfig.Written
	var addresses []string
	if written.User, addresses = t.resolveAddresses(r); len(addresses) > 0 {
		var port string
		written.HostName, port, _ = net.SplitHostPort(addresses[0])
		written.Port, _ = strconv.Atoi(port) // it is a number
	}
	if t.ProxyJump != "" || t.Proxy != "" || len(t.ProxyCommand) > 0 {
		written.ProxyJump = "none"
	}
	if r.err != nil {
		return nil
	}
	if file == "" {
		if paths, exist := files.DefaultFiles(); !exist {
			logger.Warn("ssh_config names no file, and none of the default ones exists; write one behind the alias", zap.Strings("files", paths))
		}
	}
	h, err := files.Resolve(alias, file, written)
	r.fail(option, err)
	return h
}

// resolveHops makes tunnels of the hosts on the way. Nothing else goes
// through them, except that tunnels whose files say the same about such a host
// share it. Their names tell them from configured ones, which have no spaces.
func (t *Tunnel) resolveHops(r *resolver, h *sshconfig.Host, appLogger *zap.Logger) (hops []*Resolved, err error) {
	if h == nil {
		return nil, nil
	}
	for _, jump := range h.Jumps {
		hop, err := (&Tunnel{Lazy: t.Lazy, LazyTimeout: t.LazyTimeout}).resolveChecked(r, "ssh_config "+jump.Alias, jump, appLogger)
		if err != nil {
			return nil, fmt.Errorf("jump %q: %w", jump.Alias, err)
		}
		hops = append(hops, hop)
	}
	return hops, nil
}

// fillFromSSHConfig fills in what the tunnel's own options leave open.
func (t *Tunnel) fillFromSSHConfig(r *resolver, h *sshconfig.Host, cfg *tunnel.Config, set *tunnel.Settings) {
	const option = "ssh_config"
	refuse := func(keyword string, err error) {
		r.fail(option, fmt.Errorf("%s: %s: %w", h.Where(keyword), keyword, err))
	}
	if err := hostname.CheckHost(h.HostName); err != nil {
		r.fail(option, fmt.Errorf("HostName %q: %w", h.HostName, err))
	}

	cfg.PreferredAuthentications = h.PreferredAuthentications
	if cfg.PreferredAuthentications != nil && len(cfg.IdentityFiles)+len(cfg.Identities)+len(cfg.CertificateFiles)+len(cfg.Certificates) > 0 { // the tunnel's own are used all the same
		cfg.PreferredAuthentications = append(slices.Clone(cfg.PreferredAuthentications), "publickey")
	}
	if len(cfg.IdentityFiles)+len(cfg.Identities) == 0 && !cfg.NoIdentityFiles {
		cfg.NoIdentityFiles = h.NoIdentityFiles
		for _, path := range h.IdentityFiles {
			cfg.IdentityFiles = append(cfg.IdentityFiles, tunnel.IdentityFile{Path: path, Optional: true})
		}
	}
	if len(cfg.CertificateFiles)+len(cfg.Certificates) == 0 {
		cfg.CertificateFiles, cfg.OptionalCertificates = h.CertificateFiles, true
	}
	if len(cfg.KnownHosts)+len(cfg.HostKeys)+len(cfg.HostCertificateAuthorities) == 0 {
		cfg.KnownHosts = knownHostsOf(h, r.home)
		if len(h.KnownHostsCommand) > 0 {
			cfg.KnownHostsCommand = &hostkey.Command{Args: h.KnownHostsCommand, Tokens: h.Tokens}
		}
		cfg.TrustLoopback = h.NoHostAuthenticationForLocalhost && cfg.Password == ""
	}
	if len(cfg.RevokedHostKeys) == 0 {
		cfg.RevokedHostKeys = h.RevokedHostKeys
	}
	cfg.HostKeyAlias = cmp.Or(cfg.HostKeyAlias, h.HostKeyAlias)
	cfg.TrustLoopback = cfg.TrustLoopback && cfg.HostKeyAlias == ""
	if len(cfg.ProxyCommand) == 0 {
		cfg.BindAddress = cmp.Or(cfg.BindAddress, h.BindAddress)
	}
	cfg.AddressFamily = cmp.Or(cfg.AddressFamily, h.AddressFamily)
	cfg.RequiredRSASize = cmp.Or(cfg.RequiredRSASize, h.RequiredRSASize)

	for _, list := range []struct {
		keyword, option, written string
		names                    *[]string
	}{
		{"KexAlgorithms", "kex_algorithms", h.KexAlgorithms, &cfg.KexAlgorithms},
		{"Ciphers", "ciphers", h.Ciphers, &cfg.Ciphers},
		{"MACs", "macs", h.MACs, &cfg.MACs},
		{"HostKeyAlgorithms", "host_key_algorithms", h.HostKeyAlgorithms, &cfg.HostKeyAlgorithms},
		{"PubkeyAcceptedAlgorithms", "pubkey_accepted_algorithms", h.PubkeyAcceptedAlgorithms, &cfg.PubkeyAcceptedAlgorithms},
		{"CASignatureAlgorithms", "ca_signature_algorithms", h.CASignatureAlgorithms, &cfg.CASignatureAlgorithms},
	} {
		if list.written == "" || len(*list.names) > 0 {
			continue
		}
		defaults, broken := algorithms.Defaults(list.option)
		names, unknown := sshconfig.Algorithms(list.written, defaults, broken)
		if len(names) == 0 {
			refuse(list.keyword, fmt.Errorf("%q leaves none that is supported; supported: %s", list.written, strings.Join(defaults, ", ")))
		}
		if len(unknown) > 0 && set.Logger != nil {
			set.Logger.Warn("ssh_config: algorithms that are not supported are left out",
				zap.String("tunnel", cfg.Name), zap.String("at", h.Where(list.keyword)), zap.Strings("algorithms", unknown))
		}
		*list.names = names
	}

	set.ConnectTimeout = cmp.Or(set.ConnectTimeout, h.ConnectTimeout)
	if t.ServerAliveInterval == nil && h.ServerAliveInterval != nil {
		set.ServerAliveInterval = *h.ServerAliveInterval
	}
	if t.ServerAliveCountMax == 0 && h.ServerAliveCountMax != nil {
		set.ServerAliveCountMax = max(*h.ServerAliveCountMax, 1)
	}
	if t.RekeyLimit == nil {
		set.RekeyBytes = min(h.RekeySize, maxRekeySize)
		set.RekeyInterval = h.RekeyInterval
	}
}

// knownHostsOf returns the known_hosts files of ssh's two keywords, or nil where
// neither is written. Of one that is not, it is the default files.
func knownHostsOf(h *sshconfig.Host, home string) []string {
	if h.UserKnownHostsFiles == nil && h.GlobalKnownHostsFiles == nil {
		return nil
	}
	user, system := hostkey.DefaultKnownHosts(home)
	if h.UserKnownHostsFiles != nil {
		user = h.UserKnownHostsFiles
	}
	if h.GlobalKnownHostsFiles != nil {
		system = h.GlobalKnownHostsFiles
	}
	if len(user)+len(system) == 0 {
		return []string{os.DevNull} // none is not the default ones
	}
	return slices.Concat(user, system)
}

// identifyLikeSSH makes the tunnel offer what ssh would: the agent's keys as well
// as the files', unless the files or the tunnel's own options say otherwise.
func (t *Tunnel) identifyLikeSSH(h *sshconfig.Host, cfg *tunnel.Config) {
	if t.IdentityAgent == "" && h.IdentityAgent != "" {
		cfg.IdentityAgent = h.IdentityAgent
	}
	if t.IdentitiesOnly == nil && len(t.IdentityFiles)+len(t.Identities)+len(t.CertificateFiles)+len(t.Certificates) == 0 {
		cfg.IdentitiesOnly = h.IdentitiesOnly != nil && *h.IdentitiesOnly
	}
}

// strictLikeSSH returns strict_host_key_checking as StrictHostKeyChecking has it.
// Nobody is there to be asked; and to trust whoever answers is to be written in
// the tunnel's own block.
func strictLikeSSH(h *sshconfig.Host) string {
	switch h.StrictHostKeyChecking {
	case "ask":
		return "yes"
	case "no":
		return "accept-new"
	default:
		return h.StrictHostKeyChecking
	}
}
