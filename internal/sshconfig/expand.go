package sshconfig

// expand.go replaces tokens, variables and ~.

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // what %C is made with; it protects nothing
	"encoding/hex"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

var errNoHome = errors.New("the user that this process runs as has no home directory; write the whole path")

// expandHome replaces a ~ at the beginning of a path, which may be followed by
// the name of a user.
func (r *Reader) expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok {
		return path, nil
	}
	name, rest, _ := strings.Cut(rest, "/")
	home := r.Home
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return "", fmt.Errorf("%q: no user %q", path, name)
		}
		home = u.HomeDir
	}
	if home == "" {
		return "", errNoHome
	}
	return filepath.Join(home, rest), nil
}

// expandPath replaces all there is to replace in a path.
func (e *evaluation) expandPath(path string, known sshsyntax.Tokens) (string, error) {
	path, err := e.reader.expandHome(path)
	if err != nil {
		return "", err
	}
	if path, err = known.ExpandAll(path); err != nil {
		return "", err
	}
	return path, redact.CheckPath(path)
}

// execTokens returns what tokens of a Match exec or an Include stand for, by the lines so
// far.
func (e *evaluation) execTokens() sshsyntax.Tokens {
	tokens := e.tokens(e.hostSoFar())
	if e.values.first("hostkeyalias") == "" {
		tokens['k'] = tokens['h'] // as for ssh; elsewhere it is the alias
	}
	return tokens
}

// tokens returns what tokens stand for, where the host's name is known.
func (e *evaluation) tokens(host string) sshsyntax.Tokens {
	r := e.reader
	port := cmp.Or(e.values.first("port"), "22")
	if n, err := parsePort(port); err == nil {
		port = fmt.Sprint(n)
	}
	jump := ""
	if jumps, err := parseJumps(e.values.first("proxyjump")); err == nil && len(jumps) > 0 {
		jump = jumps[len(jumps)-1].host
	}
	short, _, _ := strings.Cut(r.Hostname, ".")
	login := e.userSoFar()
	sum := sha1.Sum([]byte(r.Hostname + host + port + login + jump)) //nolint:gosec // see above
	return sshsyntax.Tokens{
		'C': hex.EncodeToString(sum[:]),
		'd': r.Home,
		'h': host,
		'i': r.UID,
		'j': jump,
		'k': cmp.Or(strings.ToLower(e.values.first("hostkeyalias")), e.alias),
		'L': short,
		'l': r.Hostname,
		'n': e.alias,
		'p': port,
		'r': login,
		'u': r.User,
	}
}
