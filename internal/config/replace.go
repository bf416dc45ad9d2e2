package config

// replace.go turns strings as they were configured into what they stand for:
// placeholders into their values, ~ into the home directory.

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// replacePlaceholders returns s with its placeholders replaced. One that is
// unknown or empty is an error: a missing file or variable must not quietly
// become an empty user or password. A brace that is meant as such is escaped
// with a backslash. Values are taken as they are, braces and all.
func replacePlaceholders(s string) (string, error) {
	return caddy.NewReplacer().ReplaceFunc(s, func(key string, value any) (any, error) {
		if caddy.ToString(value) != "" {
			return value, nil
		}
		switch {
		case strings.HasPrefix(key, "file."):
			return nil, fmt.Errorf("placeholder {%s} is empty: the file is empty, absent or not readable by %s", key, processUser())
		case value == nil:
			return nil, &unknownPlaceholderError{key}
		default:
			return nil, fmt.Errorf("placeholder {%s} is empty; set it", key)
		}
	})
}

// replaceSecret is replacePlaceholders for a secret: its errors never show what
// may be a part of it.
func replaceSecret(s string) (string, error) {
	secret, err := replacePlaceholders(s)
	if unknown := new(unknownPlaceholderError); errors.As(err, &unknown) {
		return "", errors.New(`an unknown placeholder; for a brace that is meant as such write \{`)
	}
	return secret, err
}

// unknownPlaceholderError says that what is in braces is no placeholder.
type unknownPlaceholderError struct{ key string }

func (e *unknownPlaceholderError) Error() string {
	if redact.Path(e.key) != nil {
		return `braces around what is no placeholder; for a brace that is meant as such write \{`
	}
	return fmt.Sprintf(`unknown placeholder {%s}; for a brace that is meant as such write \{`, e.key)
}

// resolver replaces placeholders in one option after the other. It keeps the
// first error and does nothing after it, so that callers need to look at err
// only at the end.
type resolver struct {
	home string // "" if the user Caddy runs as has none
	err  error
}

// value resolves the value of an option, "" if that is not set. It refuses what
// may be a secret, or a file's text, in the wrong place: nothing that prints the
// value later need think of that.
func (r *resolver) value(option, s string) string {
	return r.resolve(option, s, redact.Check)
}

// resolve resolves the value of an option that check does not refuse.
func (r *resolver) resolve(option, s string, check func(string) error) string {
	if r.err != nil || s == "" {
		return s
	}
	value, err := replacePlaceholders(s)
	r.fail(option, err)
	r.fail(option, check(value))
	return value
}

// secret resolves a value that may have a secret in it, which no error shows.
func (r *resolver) secret(option, s string) string {
	if r.err != nil || s == "" {
		return s
	}
	s, err := replaceSecret(s)
	r.fail(option, err)
	return s
}

// keyOrPath resolves a value that may be a public key, or else is a path.
func (r *resolver) keyOrPath(option, s string) string {
	return r.inHome(option, r.resolve(option, s, redact.CheckPublicKey))
}

// path resolves a path: a ~ at its start stands for the home directory.
func (r *resolver) path(option, s string) string {
	return r.inHome(option, r.resolve(option, s, redact.CheckPath))
}

// keyFile resolves the path of a key's or a certificate's file. Its text is often written
// in its place, which belongs into another option.
func (r *resolver) keyFile(textOption string) func(option, s string) string {
	return func(option, s string) string {
		return r.inHome(option, r.resolve(option, s, func(s string) error {
			if err := redact.CheckPath(s); err != nil {
				return fmt.Errorf("%w, or write the text by a placeholder as %s, as in %s {env.NAME}", err, textOption, textOption)
			}
			return nil
		}))
	}
}

// knownHosts resolves the path of a known_hosts file. What belongs into such a file is
// often written in its place.
func (r *resolver) knownHosts(option, s string) string {
	return r.inHome(option, r.resolve(option, s, func(s string) error {
		if strings.HasPrefix(s, "SHA256:") {
			return errors.New("the value is a fingerprint, not a path; write it as host_key")
		}
		if err := redact.CheckPath(s); err != nil {
			return fmt.Errorf("%w, or write the host's key as host_key <type> <base64>", err)
		}
		return nil
	}))
}

// hostKey resolves a host key. A line of known_hosts has a name before the key.
func (r *resolver) hostKey(option, s string) string {
	return r.resolve(option, s, func(s string) error {
		if t := redact.Content(s); t != nil && t.Is == redact.KnownHosts {
			return fmt.Errorf("the value is %s; write <type> <base64>, without the name of the host", t)
		}
		return redact.CheckPublicKey(s)
	})
}

// inHome replaces the ~ at the start of a path.
func (r *resolver) inHome(option, s string) string {
	if r.err != nil || !strings.HasPrefix(s, "~") {
		return s
	}
	rest := s[1:]
	switch {
	case rest != "" && !os.IsPathSeparator(rest[0]):
		r.fail(option, fmt.Errorf("%q: only ~/ is expanded; write the other user's home directory out", s))
	case r.home == "":
		r.fail(option, fmt.Errorf("%q: %s has no home directory; set HOME or write the whole path", s, processUser()))
	}
	return filepath.Join(r.home, rest)
}

// each resolves the values of an option that is a list.
func (r *resolver) each(option string, list []string, resolve func(option, s string) string) []string {
	var resolved []string
	for _, s := range list {
		if s == "" {
			r.fail(option, errors.New("an empty entry; leave it out"))
		}
		resolved = append(resolved, resolve(option, s))
	}
	return resolved
}

// fail keeps err, if it is one and the first.
func (r *resolver) fail(option string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", option, err)
	}
}

// ResolveTarget is ParseTarget, after placeholders such as {env.*} have been
// replaced.
func ResolveTarget(s string) (tunnel.Target, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err != nil {
		return tunnel.Target{}, fmt.Errorf("target %s: %w", redact.Quote(s), redact.Error(err))
	}
	if err := redact.Check(resolved); err != nil {
		return tunnel.Target{}, fmt.Errorf("target: %w", err)
	}
	return hostport.ParseTarget(resolved, hostport.Bastion)
}

// HomeDir returns the home directory of the user Caddy runs as: $HOME, else
// what the user database says. It is "" if neither knows one.
func HomeDir() string {
	if home, err := os.UserHomeDir(); err == nil && home != "" {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

// LoginName returns the name of the user Caddy runs as: what the user database
// says, else $USER. It is "" if neither knows one.
func LoginName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		// On Windows it is DOMAIN\name.
		return u.Username[strings.LastIndex(u.Username, `\`)+1:]
	}
	return os.Getenv("USER")
}

// processUser names the user Caddy runs as, for errors.
func processUser() string {
	if name := LoginName(); name != "" {
		return fmt.Sprintf("the user %q that Caddy runs as", name)
	}
	return "the user that Caddy runs as"
}
