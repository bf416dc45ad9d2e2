package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostname"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshconfig"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// What an option is when it is not written, where package pool leaves that
// to its caller or this file has to compare with it.
const (
	defaultServerAliveInterval = 15 * time.Second
	defaultReconnectMin        = 250 * time.Millisecond
	defaultReconnectMax        = 30 * time.Second
	maxRekeySize               = 32 << 30
)

// Resolved is a tunnel as it is to be opened. Nothing of it has been opened yet.
type Resolved struct {
	Config     tunnel.Config
	Settings   tunnel.Settings
	Permission dialer.Permission

	// Jump is the name of the tunnel to jump through, or "". Via is that tunnel,
	// once all tunnels are resolved.
	Jump string
	Via  *Resolved
	// Hops are the hosts of ssh_config to jump through, the first to dial first.
	Hops []*Resolved

	LocalForwards, RemoteForwards, DynamicForwards []ResolvedForward
}

// Chain returns the tunnels that lead to the bastion, the first to dial first. The
// last is r.
func (r *Resolved) Chain() []*Resolved {
	var before []*Resolved
	if r.Via != nil {
		before = r.Via.Chain()
	}
	return append(append(before, r.Hops...), r)
}

// resolve checks the configuration, all of it without going online.
func (t *Tunnel) resolve(name string, appLogger *zap.Logger, files *sshconfig.Reader) (*Resolved, error) {
	logger := appLogger.With(zap.String("tunnel", name))
	r := &resolver{home: HomeDir()}

	h := t.readSSHConfig(r, files, logger)
	hops, err := t.resolveHops(r, h, appLogger)
	if err != nil {
		return nil, err
	}
	resolved, err := t.resolveChecked(r, name, h, appLogger)
	if err != nil {
		return nil, err
	}
	resolved.Hops = hops
	return resolved, t.resolveForwards(resolved, logger)
}

// resolveChecked resolves all that the tunnel's connections depend on, and checks
// the files that are named. What the tunnel does not say itself comes from h,
// unless that is nil.
func (t *Tunnel) resolveChecked(r *resolver, name string, h *sshconfig.Host, appLogger *zap.Logger) (*Resolved, error) {
	resolved, err := t.resolveOptions(r, name, h, appLogger)
	if err != nil {
		return nil, err
	}
	warnings, err := resolved.Config.Check()
	for _, warning := range warnings {
		appLogger.Warn(warning, zap.String("tunnel", name))
	}
	return resolved, err
}

// ResolveHost returns the tunnel to a host of ssh_config(5) files that no
// configuration says more about. It does not check the files that these name.
func ResolveHost(h *sshconfig.Host, logger *zap.Logger) (*Resolved, error) {
	return new(Tunnel).resolveOptions(&resolver{home: HomeDir()}, h.Alias, h, logger)
}

// resolveOptions is resolveChecked without the check of files.
func (t *Tunnel) resolveOptions(r *resolver, name string, h *sshconfig.Host, appLogger *zap.Logger) (*Resolved, error) {
	logger := appLogger.With(zap.String("tunnel", name))
	cfg := t.resolveConfig(r, name)
	t.resolveStrict(r, &cfg, h)
	t.resolveHost(r, &cfg, h, logger)
	t.resolveIdentities(r, &cfg)
	set := t.resolveSettings(r, appLogger) // package pool names the tunnel itself
	jump := r.value("proxy_jump", t.ProxyJump)
	t.resolveWay(r, &cfg, h)
	if h != nil {
		t.fillFromSSHConfig(r, h, &cfg, &set)
	}
	permission := t.resolvePermission(r, name)
	if r.err != nil {
		return nil, r.err
	}
	if len(t.ProxyCommand) > 0 && !slices.Equal(cfg.ProxyCommand, t.ProxyCommand) {
		logger.Warn("what the placeholders of proxy_command stand for is shown by every list of processes; let the command take secrets from its environment, or from a file")
	}

	cfg.ApplyDefaults(r.home)
	if h != nil {
		t.identifyLikeSSH(h, &cfg)
	}
	if only := t.IdentitiesOnly; only != nil {
		// What is written stands, whatever else follows from the rest.
		cfg.IdentitiesOnly = *only
		if !*only && t.IdentityAgent == "" && (h == nil || h.IdentityAgent == "") {
			cfg.IdentityAgent = "SSH_AUTH_SOCK"
		}
	}
	return &Resolved{Config: cfg, Settings: set, Permission: permission, Jump: jump}, nil
}

// resolveConfig resolves what needs no more than that.
func (t *Tunnel) resolveConfig(r *resolver, name string) tunnel.Config {
	return tunnel.Config{
		Name:                       name,
		CertificateFiles:           r.each("certificate_file", t.CertificateFiles, r.keyFile("certificate")),
		Certificates:               t.Certificates,
		IdentityAgent:              r.path("identity_agent", t.IdentityAgent),
		Password:                   t.Password,
		KnownHosts:                 r.each("known_hosts", t.KnownHosts, r.knownHosts),
		HostKeys:                   r.each("host_key", t.HostKeys, r.hostKey),
		HostCertificateAuthorities: r.each("host_certificate_authority", t.HostCertificateAuthorities, r.keyOrPath),
		RevokedHostKeys:            r.each("revoked_host_keys", t.RevokedHostKeys, r.path),
		HostKeyAlias:               r.value("host_key_alias", t.HostKeyAlias),
		BindAddress:                r.value("bind_address", t.BindAddress),
		AddressFamily:              r.value("address_family", t.AddressFamily),
		Lists: algorithms.Lists{
			KexAlgorithms:            r.each("kex_algorithms", t.KexAlgorithms, r.value),
			Ciphers:                  r.each("ciphers", t.Ciphers, r.value),
			MACs:                     r.each("macs", t.MACs, r.value),
			HostKeyAlgorithms:        r.each("host_key_algorithms", t.HostKeyAlgorithms, r.value),
			PubkeyAcceptedAlgorithms: r.each("pubkey_accepted_algorithms", t.PubkeyAcceptedAlgorithms, r.value),
			CASignatureAlgorithms:    r.each("ca_signature_algorithms", t.CASignatureAlgorithms, r.value),
			RequiredRSASize:          t.RequiredRSASize,
		},
		Resolve: replaceSecret,
	}
}

// resolveStrict resolves whether the host key has to be known, and whether those that
// are learned are updated.
func (t *Tunnel) resolveStrict(r *resolver, cfg *tunnel.Config, h *sshconfig.Host) {
	const option = "strict_host_key_checking"
	strict := r.value(option, t.StrictHostKeyChecking)
	if strict == "" && h != nil {
		strict = strictLikeSSH(h)
	}
	switch strict {
	case "", "yes":
	case "no":
		cfg.InsecureIgnoreHostKey = true
	case "accept-new":
		cfg.AcceptNewHostKey = true
		update := t.UpdateHostKeys
		if update == nil && h != nil {
			update = h.UpdateHostKeys
		}
		cfg.UpdateHostKeys = update == nil || *update
	default:
		r.fail(option, fmt.Errorf("%q is none of yes, accept-new and no", strict))
	}
}

// resolveAddresses resolves where the tunnel itself says that the bastion is, and
// whom to log in as.
func (t *Tunnel) resolveAddresses(r *resolver) (login string, addresses []string) {
	login = r.value("user", t.User)
	if login != "" && r.err == nil {
		r.fail("user", hostname.CheckUser(login))
	}
	written := t.User != ""
	for _, address := range r.each("host", t.Hosts, r.value) {
		if r.err != nil {
			return "", nil
		}
		server, err := hostport.ParseServer(address)
		r.fail("host", err)
		addresses = append(addresses, server.Address())
		switch user := server.User; {
		case user == "" || user == login && !written:
		case login != "" && written:
			r.fail("user", fmt.Errorf("%q; the host has %q: keep one", login, user))
		case login != "":
			r.fail("host", fmt.Errorf("users %q and %q; a tunnel has one user: write it as user", login, user))
		default:
			login = user
		}
	}
	return login, addresses
}

// resolveHost resolves where the bastion is and whom to log in as.
func (t *Tunnel) resolveHost(r *resolver, cfg *tunnel.Config, h *sshconfig.Host, logger *zap.Logger) {
	login, addresses := t.resolveAddresses(r)
	switch {
	case h != nil:
		address := net.JoinHostPort(h.HostName, strconv.Itoa(h.Port))
		login, addresses = cmp.Or(login, h.User), append([]string{address}, addresses[min(1, len(addresses)):]...)
		if login != "" {
			r.fail("user", hostname.CheckUser(login))
		}
	case len(t.Hosts) == 0:
		r.fail("host", errors.New("none; write the bastion's address, as in tunnel <name> [<user>@]<host>[:<port>], or ssh_config <alias>"))
	}
	if r.err != nil {
		return
	}
	cfg.Address, cfg.Fallbacks = addresses[0], append(cfg.Fallbacks, addresses[1:]...)
	if cfg.User = login; login != "" {
		return
	}
	if cfg.User = LoginName(); cfg.User == "" {
		r.fail("user", errors.New("none, and the user that Caddy runs as has no name; set user"))
	}
	logger.Info("no user is configured; logging in as the user Caddy runs as", zap.String("user", cfg.User))
}

// resolveIdentities resolves what to log in with. Secrets stay as they are:
// they are resolved at each connect.
func (t *Tunnel) resolveIdentities(r *resolver, cfg *tunnel.Config) {
	const option = "identity_file"
	for _, file := range t.IdentityFiles {
		path := r.keyFile("identity")(option, file.Path)
		switch {
		case path == "":
			r.fail(option, errors.New("no path; write one, or none"))
		case path == "none" && (len(t.IdentityFiles) > 1 || file.Passphrase != ""):
			r.fail(option, errors.New("none stands alone; remove it, or the others"))
		case path == "none":
			cfg.NoIdentityFiles = true
		default:
			cfg.IdentityFiles = append(cfg.IdentityFiles, tunnel.IdentityFile{Path: path, Passphrase: file.Passphrase})
		}
	}
	r.fail("identity", t.checkAuto())
	for _, id := range t.Identities {
		resolved := tunnel.Identity{Text: id.Key, Passphrase: id.Passphrase}
		switch {
		case id.Auto:
			resolved.Generated = cfg.Name
		case id.Key == "":
			r.fail("identity", errors.New("no key; write its text by a placeholder, as in identity {env.BASTION_KEY}, or auto"))
		}
		cfg.Identities = append(cfg.Identities, resolved)
	}
	if slices.Contains(t.Certificates, "") {
		r.fail("certificate", errors.New("an empty entry; leave it out"))
	}
}

// checkAuto checks the identities that are auto. None of its errors shows a key.
func (t *Tunnel) checkAuto() error {
	n := 0
	for _, id := range t.Identities {
		if !id.Auto {
			continue
		}
		n++
		switch {
		case id.Key != "":
			return errors.New("auto has a key as well; keep one of them")
		case id.Passphrase != "":
			return errors.New("auto takes no passphrase; Caddy's storage protects the key")
		case n > 1:
			return errors.New("auto is written twice; keep one")
		}
	}
	return nil
}

// resolvePermission resolves what may be dialed.
func (t *Tunnel) resolvePermission(r *resolver, name string) dialer.Permission {
	const option = "permit_open"
	if t.PermitOpen != nil && len(t.PermitOpen) == 0 {
		r.fail(option, errors.New("an empty list, which would permit every target; leave it out for that, or write the targets"))
	}
	patterns := r.each(option, t.PermitOpen, r.value)
	if r.err != nil {
		return dialer.Permission{}
	}
	permitted, err := dialer.NewPermission(name, patterns)
	r.fail(option, err)
	return permitted
}

// resolveSettings checks when to connect, to probe and to replace.
func (t *Tunnel) resolveSettings(r *resolver, logger *zap.Logger) tunnel.Settings {
	set := tunnel.Settings{
		Logger:              logger,
		ConnectTimeout:      r.duration("connect_timeout", t.ConnectTimeout),
		ServerAliveInterval: defaultServerAliveInterval,
		ServerAliveCountMax: t.ServerAliveCountMax,
		ReconnectMin:        defaultReconnectMin,
		ReconnectMax:        defaultReconnectMax,
		Lazy:                t.Lazy,
		LazyTimeout:         r.duration("lazy_timeout", t.LazyTimeout),
	}
	if t.LazyTimeout != 0 && !t.Lazy {
		r.fail("lazy_timeout", errors.New("the tunnel is not lazy; add lazy"))
	}
	if t.ServerAliveInterval != nil {
		set.ServerAliveInterval = r.duration("server_alive_interval", *t.ServerAliveInterval)
	}
	if t.ServerAliveCountMax < 0 {
		r.fail("server_alive_count_max", fmt.Errorf("%d is negative", t.ServerAliveCountMax))
	}
	if delay := t.ReconnectDelay; delay != nil {
		if lo := r.duration("reconnect_delay", delay.Min); lo > 0 {
			set.ReconnectMin = lo
		}
		if hi := r.duration("reconnect_delay", delay.Max); hi > 0 {
			set.ReconnectMax = hi
		}
		if set.ReconnectMin > set.ReconnectMax {
			r.fail("reconnect_delay", fmt.Errorf("the first delay, %s, is above the longest, %s", set.ReconnectMin, set.ReconnectMax))
		}
	}
	if t.DrainTimeout != nil {
		set.DrainTimeout = r.duration("drain_timeout", *t.DrainTimeout)
		if set.DrainTimeout == 0 {
			set.DrainTimeout = -1 // package pool takes zero for not set
		}
	}
	if conns := t.Connections; conns != nil {
		switch {
		case conns.Min < 0 || conns.Max < 0:
			r.fail("connections", errors.New("negative; write the least and the most, as in 1 8"))
		case conns.Max != 0 && conns.Min > conns.Max:
			r.fail("connections", fmt.Errorf("the least number, %d, is above the most, %d", conns.Min, conns.Max))
		}
		set.MinConnections = max(conns.Min, 1)
		set.MaxConnections = cmp.Or(conns.Max, set.MinConnections)
	}
	if limit := t.RekeyLimit; limit != nil {
		set.RekeyBytes = limit.Size
		set.RekeyInterval = r.duration("rekey_limit", limit.Interval)
		if limit.Size < 0 || limit.Size > maxRekeySize {
			r.fail("rekey_limit", fmt.Errorf("%d bytes; it is at most 32GiB", limit.Size))
		}
	}
	return set
}

// duration checks the duration of an option. In JSON a number counts
// nanoseconds, which a user may well take for seconds.
func (r *resolver) duration(option string, d caddy.Duration) time.Duration {
	switch dur := time.Duration(d); {
	case dur < 0:
		r.fail(option, fmt.Errorf("%s is negative", dur))
	case 0 < dur && dur < time.Millisecond:
		r.fail(option, fmt.Errorf(`%s is below 1ms; a number in JSON counts nanoseconds: write a string, as in "15s"`, dur))
	}
	return time.Duration(d)
}
