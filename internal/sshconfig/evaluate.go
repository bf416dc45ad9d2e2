package sshconfig

// evaluate.go goes through files, and gathers what counts for one host.

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// maxIncludes is how deep files may include others, which is ssh's limit, too.
const maxIncludes = 16

// entry is what a line, or the caller, says for a keyword.
type entry struct {
	args    []string
	keyword string // as it is written
	pos     string // "" for what the caller says
	literal bool   // without tokens
	system  bool   // of the system's files
}

// values are the entries by keyword. Only those of a keyword that repeats are
// more than one.
type values map[string][]entry

func (v values) get(keyword string) (entry, bool) {
	if entries := v[keyword]; len(entries) > 0 {
		return entries[0], true
	}
	return entry{}, false
}

// first returns the first argument of a keyword, "" if it is not set.
func (v values) first(keyword string) string {
	if entry, ok := v.get(keyword); ok {
		return entry.args[0]
	}
	return ""
}

// add takes an entry in, unless an earlier one counts.
func (v values) add(keyword string, added entry, repeats bool) {
	switch {
	case repeats:
		same := func(e entry) bool { return slices.Equal(e.args, added.args) }
		if slices.ContainsFunc(v[keyword], same) {
			return
		}
	case len(v[keyword]) > 0:
		return
	case keyword == "proxyjump" && len(v["proxycommand"]) > 0:
		return
	case keyword == "proxyjump" && !strings.EqualFold(added.args[0], "none"):
		// The two exclude each other; the first that is written counts.
		v["proxycommand"] = []entry{{args: []string{"none"}, keyword: "ProxyCommand"}}
	}
	v[keyword] = append(v[keyword], added)
}

// evaluation is one host's way through the files.
type evaluation struct {
	reader *Reader
	alias  string // what was asked for
	values values

	// target is what Host patterns are compared with: the alias, and in the
	// final pass the host's name.
	target string

	// system says that the file that is gone through is the system's.
	system bool

	// final says that this is the second pass, which wantFinal asks for.
	final, wantFinal bool
}

// source says how a file came to be read.
type source struct {
	user   bool // the user's, not the system's: relative to ~/.ssh
	strict bool // refused if others may write to it
	never  bool // included by a block that does not match: only checked

	// within are the files that include it, the outermost first.
	within []string
}

// pass goes through the files once.
func (e *evaluation) pass(file string) error {
	if file != "" {
		return e.file(file, source{user: true})
	}
	for _, f := range e.reader.defaultFiles() {
		if err := e.file(f.path, f.source); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// optionPos is where a line stands that follows -o.
const optionPos = "-o"

// options takes what follows -o.
func (e *evaluation) options(lines []string) error {
	for _, text := range lines {
		d, err := parseLine(text)
		if err != nil {
			return fmt.Errorf("%s: %w", optionPos, err)
		}
		if d == nil {
			continue
		}
		l := line{directive: d, pos: optionPos, ours: redact.Check(text) == nil}
		switch l.keyword {
		case "host", "match", "include":
			return fmt.Errorf("%s: %s stands in a file alone; write it there, and name the file behind -F", optionPos, l.written)
		}
		if err := e.take(l, true); err != nil {
			return err
		}
	}
	return nil
}

// file goes through a file's lines.
func (e *evaluation) file(path string, src source) error {
	lines, err := e.reader.lines(path, src.strict)
	if err != nil {
		return err
	}
	defer func(before bool) { e.system = before }(e.system)
	e.system = !src.user
	active := !src.never
	for _, l := range lines {
		switch l.keyword {
		case "host", "match", "include":
			if err := l.check(); err != nil {
				return err
			}
		}
		switch l.keyword {
		case "host":
			if slices.Contains(l.args, "") {
				return fmt.Errorf("%s: Host %w", l.pos, errEmpty)
			}
			active = !src.never && sshsyntax.MatchAny(l.args, e.target)
		case "match":
			matched, err := e.matchLine(l, src.never)
			if err != nil {
				return err
			}
			active = !src.never && matched
		case "include":
			inner := src
			inner.never, inner.strict = !active, true
			inner.within = append(slices.Clip(src.within), path)
			err = e.include(l, inner)
		default:
			err = e.take(l, active)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var (
	errIncludes       = fmt.Errorf("more than %d files include one another", maxIncludes)
	errIncludesItself = errors.New("includes itself, which ssh refuses; remove this line")
)

// include goes through the files that an Include line names. Those that do not
// exist are none.
func (e *evaluation) include(l line, src source) error {
	if len(src.within) > maxIncludes {
		return fmt.Errorf("%s: %w", l.pos, errIncludes)
	}
	for _, arg := range l.args {
		if arg == "" {
			return fmt.Errorf("%s: Include %w", l.pos, errEmpty)
		}
		if strings.HasPrefix(arg, "~") && !src.user {
			return fmt.Errorf("%s: Include %q: a file of the system has no home directory; write the whole path", l.pos, arg)
		}
		pattern, err := e.includePattern(arg, src)
		if err != nil {
			// As for ssh, what cannot be found is not there.
			e.reader.warn("include "+arg, "%s: Include %q is ignored: %v", l.pos, arg, err)
			continue
		}
		paths, err := globFiles(pattern)
		if err != nil {
			paths = []string{pattern} // with a [ that stands for itself
		}
		for _, path := range paths {
			if slices.Contains(src.within, path) {
				return fmt.Errorf("%s: %q %w", l.pos, path, errIncludesItself)
			}
			err := e.file(path, src)
			if errors.Is(err, errIncludes) || errors.Is(err, errIncludesItself) {
				return err // its place says enough
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errDirectory) {
				return fmt.Errorf("%w, included by %s", err, l.pos)
			}
		}
	}
	return nil
}

// globFiles is filepath.Glob as the system's glob(3) is: [! negates, and a dot at the
// beginning of a name is matched by a dot alone.
func globFiles(pattern string) ([]string, error) {
	paths, err := filepath.Glob(strings.ReplaceAll(pattern, "[!", "[^"))
	names := strings.Split(filepath.Clean(pattern), string(filepath.Separator))
	return slices.DeleteFunc(paths, func(path string) bool {
		for i, name := range strings.Split(filepath.Clean(path), string(filepath.Separator)) {
			if strings.HasPrefix(name, ".") && i < len(names) && strings.Trim(names[i][:min(1, len(names[i]))], "*?[") == "" {
				return true
			}
		}
		return false
	}), err
}

// includePattern returns the absolute path, maybe a pattern, that an Include's
// argument stands for.
func (e *evaluation) includePattern(arg string, src source) (string, error) {
	path, err := e.execTokens().ExpandAll(arg)
	if err == nil {
		err = redact.CheckPath(path)
	}
	if err != nil {
		return "", err
	}
	switch {
	case strings.HasPrefix(path, "~"):
		return e.reader.expandHome(path)
	case filepath.IsAbs(path):
		return path, nil
	case !src.user:
		return filepath.Join(e.reader.systemDir(), path), nil
	case e.reader.Home == "":
		return "", errNoHome
	default:
		return filepath.Join(e.reader.Home, ".ssh", path), nil
	}
}

// hostSoFar returns the name of the host, by the lines so far.
func (e *evaluation) hostSoFar() string {
	name, ok := e.values.get("hostname")
	if !ok {
		return e.alias
	}
	if name.literal {
		return name.args[0]
	}
	// It was checked when it was read.
	host, _ := sshsyntax.Tokens{'h': e.alias}.Expand(name.args[0])
	return host
}

// userSoFar returns whom to log in as, by the lines so far.
func (e *evaluation) userSoFar() string {
	return cmp.Or(e.values.first("user"), e.reader.User)
}
