package sshconfig

// host.go puts the values in effect into the form in which they are used.

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// Host is what files say about a host, tokens and ~ replaced. What they do not
// say is zero; ssh's defaults are not filled in, except for HostName and Port.
type Host struct {
	Alias    string
	HostName string // default: Alias
	Port     int    // default: 22
	User     string

	IdentityFiles    []string
	NoIdentityFiles  bool // IdentityFile none, and no other
	CertificateFiles []string
	IdentityAgent    string // a path, SSH_AUTH_SOCK or none
	IdentitiesOnly   *bool

	PreferredAuthentications []string // nil if it is not written

	UserKnownHostsFiles   []string // empty but not nil for none
	GlobalKnownHostsFiles []string // empty but not nil for none
	StrictHostKeyChecking string   // yes, no, ask or accept-new
	UpdateHostKeys        *bool    // ask is no: nobody is there to be asked
	HostKeyAlias          string

	// KnownHostsCommand are the arguments of a command whose output has known_hosts
	// lines, with their tokens: besides those of Tokens there are %f, %H, %I, %K, %T and
	// %t. It is nil if there is none, or commands are not allowed.
	KnownHostsCommand []string

	// NoHostAuthenticationForLocalhost is that the host key is not to be checked of a host
	// at a loopback address.
	NoHostAuthenticationForLocalhost bool

	RevokedHostKeys []string

	BindAddress   string
	AddressFamily string // any, inet or inet6
	ProxyCommand  string // as it is written, with its tokens
	// ProxyUseFdpass is that ProxyCommand passes a connected socket.
	ProxyUseFdpass bool
	Jumps          []*Host

	ConnectTimeout      time.Duration
	ServerAliveInterval *time.Duration
	ServerAliveCountMax *int
	RekeySize           int64 // bytes
	RekeyInterval       time.Duration

	// Algorithm lists as they are written. See Algorithms.
	KexAlgorithms            string
	Ciphers                  string
	MACs                     string
	HostKeyAlgorithms        string
	PubkeyAcceptedAlgorithms string
	CASignatureAlgorithms    string
	RequiredRSASize          int

	// These are for commands, not for tunnels.
	BatchMode bool // nobody is to be asked anything
	Forwards  Forwards

	// Tokens are what tokens stand for.
	Tokens sshsyntax.Tokens

	values values
}

// Where returns the file and line that set a keyword, as <file>:<line>, or ""
// if none did.
func (h *Host) Where(keyword string) string {
	entry, _ := h.values.get(strings.ToLower(keyword))
	return entry.pos
}

// host returns the values in effect for the host of this name.
func (e *evaluation) host(name string) (*Host, error) {
	f := &filler{e: e, tokens: e.tokens(name)}
	h := &Host{Alias: e.alias, HostName: name, Port: 22, values: e.values}
	h.User = f.user()
	f.tokens['r'] = h.User
	if h.User == "" {
		f.tokens['r'] = e.reader.User
	}
	if v, ok := e.values.get("port"); ok {
		h.Port, _ = parsePort(v.args[0])
	}

	h.Tokens = f.tokens

	h.IdentityFiles, h.NoIdentityFiles = f.identityFiles()
	h.CertificateFiles = f.paths("certificatefile")
	h.IdentityAgent = f.agent()
	if slices.Contains([]string{"no", "false"}, strings.ToLower(f.word("pubkeyauthentication"))) {
		h.IdentityFiles, h.CertificateFiles, h.NoIdentityFiles, h.IdentityAgent = nil, nil, true, "none"
	}
	h.IdentitiesOnly = pointer(f, "identitiesonly", parseFlag)
	if methods := f.word("preferredauthentications"); methods != "" {
		h.PreferredAuthentications = strings.Split(methods, ",")
	}

	h.UserKnownHostsFiles = f.fileList("userknownhostsfile", true)
	h.GlobalKnownHostsFiles = f.fileList("globalknownhostsfile", false)
	h.StrictHostKeyChecking, _ = parseStrict(f.word("stricthostkeychecking"))
	h.UpdateHostKeys = pointer(f, "updatehostkeys", parseUpdate)
	h.HostKeyAlias = strings.ToLower(f.word("hostkeyalias")) // as ssh does
	h.RevokedHostKeys = f.fileList("revokedhostkeys", true)
	h.KnownHostsCommand = f.knownHostsCommand()
	h.NoHostAuthenticationForLocalhost, _ = parseFlag(f.word("nohostauthenticationforlocalhost"))

	h.BindAddress = f.word("bindaddress")
	h.AddressFamily, _ = parseFamily(f.word("addressfamily"))
	if command := f.word("proxycommand"); !strings.EqualFold(command, "none") {
		h.ProxyCommand = command
	}
	h.ProxyUseFdpass, _ = parseFlag(f.word("proxyusefdpass"))

	h.ConnectTimeout, _ = parseTime(f.word("connecttimeout"))
	h.ServerAliveInterval = pointer(f, "serveraliveinterval", parseTime)
	h.ServerAliveCountMax = pointer(f, "serveralivecountmax", parseNumber)
	h.RekeySize, _ = parseSize(f.word("rekeylimit"))
	h.RekeyInterval, _ = parseTime(f.word(rekeyInterval))

	h.KexAlgorithms = f.word("kexalgorithms")
	h.Ciphers = f.word("ciphers")
	h.MACs = f.word("macs")
	h.HostKeyAlgorithms = f.word("hostkeyalgorithms")
	h.PubkeyAcceptedAlgorithms = f.word("pubkeyacceptedalgorithms")
	h.CASignatureAlgorithms = f.word("casignaturealgorithms")
	h.RequiredRSASize, _ = strconv.Atoi(f.word("requiredrsasize"))
	h.BatchMode, _ = parseFlag(f.word("batchmode"))
	h.Forwards = f.forwards()
	return h, f.err
}

// filler fills a Host in. It keeps the first error. What was checked when its
// line was read cannot fail here.
type filler struct {
	e      *evaluation
	tokens sshsyntax.Tokens
	err    error
}

func (f *filler) fail(v entry, err error) {
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("%s: %s: %w", v.pos, v.keyword, err)
	}
}

// word returns the argument of a keyword, "" if it is not set.
func (f *filler) word(keyword string) string { return f.e.values.first(keyword) }

// pointer returns what an argument says, or nil if it is not set.
func pointer[T any](f *filler, keyword string, parse func(string) (T, error)) *T {
	v, ok := f.e.values.get(keyword)
	if !ok {
		return nil
	}
	value, _ := parse(v.args[0])
	return &value
}

func (f *filler) path(v entry, written string) string {
	path, err := f.e.expandPath(written, f.tokens)
	f.fail(v, err)
	return path
}

// user returns whom to log in as. Its own token, %r, is none of its.
func (f *filler) user() string {
	v, ok := f.e.values.get("user")
	if !ok || v.literal {
		return f.word("user")
	}
	known := make(sshsyntax.Tokens)
	for letter, value := range f.tokens {
		if letter != 'r' && letter != 'C' {
			known[letter] = value
		}
	}
	user, err := known.ExpandAll(v.args[0])
	f.fail(v, err)
	f.fail(v, redact.Check(user))
	return user
}

// paths returns the paths of a keyword that repeats.
func (f *filler) paths(keyword string) (paths []string) {
	for _, v := range f.e.values[keyword] {
		paths = append(paths, f.path(v, v.args[0]))
	}
	return paths
}

// identityFiles returns the key files; none among them is nothing.
func (f *filler) identityFiles() (paths []string, none bool) {
	for _, v := range f.e.values["identityfile"] {
		if strings.EqualFold(v.args[0], "none") {
			none = true
			continue
		}
		paths = append(paths, f.path(v, v.args[0]))
	}
	return paths, none && len(paths) == 0
}

// fileList returns the files of a keyword that takes a list.
func (f *filler) fileList(keyword string, expand bool) []string {
	v, ok := f.e.values.get(keyword)
	if !ok {
		return nil
	}
	paths := []string{}
	if none, _ := isNone(v.args); none {
		return paths
	}
	for _, path := range v.args {
		if expand {
			path = f.path(v, path)
		}
		paths = append(paths, path)
	}
	return paths
}

// agent returns the path of the agent's socket, SSH_AUTH_SOCK or none.
func (f *filler) agent() string {
	const environment = "SSH_AUTH_SOCK"
	v, ok := f.e.values.get("identityagent")
	if !ok {
		return ""
	}
	written := v.args[0]
	switch {
	case strings.EqualFold(written, "none"):
		return "none"
	case written == environment, written == "$"+environment, written == "${"+environment+"}":
		// It is for who connects to look the variable up, each time anew.
		return environment
	case strings.HasPrefix(written, "$") && !strings.HasPrefix(written, "${"):
		path, ok := os.LookupEnv(written[1:])
		if !ok || path == "" {
			return "none" // as for ssh
		}
		f.fail(v, redact.CheckPath(path))
		return path
	default:
		return f.path(v, written)
	}
}

// knownHostsCommand returns a command and its arguments. It refuses what could not run.
func (f *filler) knownHostsCommand() []string {
	v, ok := f.e.values.get("knownhostscommand")
	switch {
	case !ok || strings.EqualFold(v.args[0], "none"):
		return nil
	case f.e.reader.Exec == nil:
		f.e.reader.warn("keyword knownhostscommand", "%s: %s is ignored: %v", v.pos, v.keyword, subprocess.ErrForbidden)
		return nil
	}
	args, err := splitArguments(v.args[0], false)
	if err == nil && (len(args) == 0 || !filepath.IsAbs(args[0])) {
		err = errors.New("it does not begin with the absolute path of a program, which ssh requires; write that")
	}
	if err == nil {
		err = redact.CheckPath(args[0]) // which is shown where it runs
	}
	known := maps.Clone(f.tokens)
	for _, letter := range []byte("fHIKTt") {
		known[letter] = ""
	}
	for _, arg := range args {
		if err == nil {
			_, err = known.ExpandAll(arg)
		}
	}
	f.fail(v, err)
	return args
}
