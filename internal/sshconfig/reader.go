package sshconfig

// reader.go finds out what files say about a host.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Reader reads the files of one user. It reads each but once, so that all that
// it returns fits together. It is not for use by several goroutines at once.
type Reader struct {
	// Home is the home directory of the user, or "" if there is none.
	Home string

	// User is the name of the user that this process runs as.
	User string

	// UID is that user's number, for %i.
	UID string

	// Hostname is this machine's name, for %l and %L.
	Hostname string

	// System is the directory of the system's files. Default: /etc/ssh, on
	// Windows %ProgramData%\ssh.
	System string

	// Options are lines that count before the files, as behind ssh's -o, for the
	// host that is asked for. Those on the way to it do not see them.
	Options []string

	// Exec executes the command of a Match exec in the user's shell, and reports whether
	// its exit status is 0. If it fails, so does Resolve. If nil, commands are not
	// allowed: Match exec with what it decides on and KnownHostsCommand are ignored, with
	// a warning, and of ProxyCommand it is for the caller to refuse it.
	Exec func(command string) (success bool, err error)

	// Warn gets what is ignored, once for each keyword. If nil,
	// nobody is.
	Warn func(warning string)

	files  map[string]file
	warned map[string]bool
	// executed are the outcomes of Exec.
	executed map[string]bool
}

// Written is what the caller says rather than the files: it counts before
// them, as ssh's command line does. What is zero is left to the files.
type Written struct {
	HostName  string
	Port      int
	User      string
	ProxyJump string // none, or hosts as in ssh_config(5)
}

// Resolve returns what the file says about alias, or if file is "" what
// ~/.ssh/config and the system's ssh_config do, where they exist. It fails on
// every line that ssh refuses, naming its file and line.
func (r *Reader) Resolve(alias, file string, written Written) (*Host, error) {
	return r.resolve(alias, file, written, []request{{alias, written}})
}

// resolve does it for a host on the way to others, chain, which ends with it.
func (r *Reader) resolve(alias, file string, written Written, chain []request) (*Host, error) {
	if err := checkAlias(alias); err != nil {
		return nil, err
	}
	e := &evaluation{reader: r, alias: alias, target: alias, values: written.values()}
	if len(chain) == 1 {
		if err := e.options(r.Options); err != nil {
			return nil, err
		}
	}
	if err := e.pass(file); err != nil {
		return nil, err
	}
	host := normalHost(e.hostSoFar())
	if e.canonicalize(host) || e.wantFinal {
		e.values["hostname"] = []entry{{args: []string{host}, literal: true}}
		e.target, e.final = host, true
		if err := e.pass(file); err != nil {
			return nil, err
		}
	}
	if refuse, ok := e.values.get("refuseconnection"); ok {
		return nil, fmt.Errorf("%s: RefuseConnection: %s", refuse.pos, strings.Join(refuse.args, " "))
	}
	e.warnNotTaken()

	h, err := e.host(host)
	if err != nil {
		return nil, err
	}
	h.Jumps, err = e.jumps(host, file, chain)
	return h, err
}

// values returns what is written as if it stood in a file before all others.
func (w Written) values() values {
	v := make(values)
	set := func(keyword, value string) {
		if value != "" {
			v.add(keyword, entry{args: []string{value}, keyword: keyword, literal: true}, false)
		}
	}
	set("hostname", w.HostName)
	set("user", w.User)
	if w.Port != 0 {
		set("port", strconv.Itoa(w.Port))
	}
	set("proxyjump", w.ProxyJump)
	if strings.EqualFold(w.ProxyJump, "none") {
		set("proxycommand", "none")
	}
	return v
}

// normalHost returns the one way to write a host's name or address.
func normalHost(host string) string {
	if addr, err := parseAddr(host); err == nil {
		return addr.String()
	}
	return strings.ToLower(host)
}

// defaultFile is a file that is read where none is named.
type defaultFile struct {
	path string
	source
}

func (r *Reader) defaultFiles() (files []defaultFile) {
	if r.Home != "" {
		files = append(files, defaultFile{filepath.Join(r.Home, ".ssh", "config"), source{user: true, strict: true}})
	}
	return append(files, defaultFile{filepath.Join(r.systemDir(), "ssh_config"), source{}})
}

// DefaultFiles returns the paths that are read where no file is named, and
// whether one of them exists.
func (r *Reader) DefaultFiles() (paths []string, exist bool) {
	for _, f := range r.defaultFiles() {
		_, err := os.Stat(f.path)
		exist = exist || err == nil || !errors.Is(err, os.ErrNotExist)
		paths = append(paths, f.path)
	}
	return paths, exist
}

func (r *Reader) systemDir() string {
	switch {
	case r.System != "":
		return r.System
	case runtime.GOOS == "windows":
		return filepath.Join(os.Getenv("ProgramData"), "ssh")
	default:
		return "/etc/ssh"
	}
}

// warn warns of something once.
func (r *Reader) warn(what, format string, args ...any) {
	if r.Warn == nil || r.warned[what] {
		return
	}
	if r.warned == nil {
		r.warned = make(map[string]bool)
	}
	r.warned[what] = true
	r.Warn(fmt.Sprintf(format, args...))
}
