package command

// init_print.go writes what init has found out: a Caddyfile, a block of sshd_config, and a
// report.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/doctor"
)

// initReport is what the command has done.
type initReport struct {
	// OK says that the tunnel was checked, and is well.
	OK     bool   `json:"ok"`
	Tunnel string `json:"tunnel"`
	Host   string `json:"host"`
	User   string `json:"user"`
	// HostKeys are those that the server has shown, HostKey the fingerprint of the one to
	// expect.
	HostKeys []shownKey `json:"host_keys"`
	HostKey  string     `json:"host_key"`
	Key      initKey    `json:"key"`
	// Installed says that the server has the key.
	Installed bool                 `json:"installed"`
	Check     *doctor.TunnelReport `json:"check,omitempty"`
	Caddyfile string               `json:"caddyfile"`
	// SSHDConfig is a block of sshd_config, or "" if the server is not OpenSSH's.
	SSHDConfig string `json:"sshd_config"`

	accepted bool // a key of the user is accepted
}

// shownKey is a host key.
type shownKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	Compare     string `json:"compare"`            // the command that prints it on the server
	KnownBy     string `json:"known_by,omitempty"` // a line of known_hosts
}

// initKey is what the tunnel logs in with.
type initKey struct {
	Source      string `json:"source"`         // existing, auto or file
	Path        string `json:"path,omitempty"` // of a file
	Fingerprint string `json:"fingerprint,omitempty"`
	// AuthorizedKey is the line for authorized_keys, if the server may not have it.
	AuthorizedKey string `json:"authorized_key,omitempty"`

	used string // as the log has it
}

// caddyfile returns a complete Caddyfile.
func (r *initRun) caddyfile(upstream string) string {
	name := token(r.cfg.Name)
	header, options := r.address()
	options = append(options, "host_key "+r.report.HostKey)
	switch {
	case r.report.Key.Source == keyAuto:
		options = append(options, "identity auto")
	case r.report.Key.Path != "":
		options = append(options, "identity_file "+token(r.report.Key.Path))
	}
	return fmt.Sprintf("{\n\tssh_tunnel {\n\t\ttunnel %s {\n\t\t\t%s\n\t\t}\n\t}\n}\n\n%s {\n\treverse_proxy %s {\n\t\ttransport ssh_tunnel %s\n\t}\n}\n",
		name+header, strings.Join(options, "\n\t\t\t"), r.flags.site, token(upstream), name)
}

// address returns where the tunnel connects and as whom: in its header; or by ssh_config,
// and by options for what was written otherwise.
func (r *initRun) address() (header string, options []string) {
	if !r.inFiles {
		return " " + token(r.cfg.User+"@"+strings.TrimSuffix(r.cfg.Address, ":22")), nil
	}
	options = []string{"ssh_config " + token(r.written.Host)}
	if r.written.Port != "" {
		options = append(options, "host "+r.cfg.Address)
	}
	if r.written.User != "" {
		options = append(options, "user "+token(r.written.User))
	}
	return "", options
}

// token quotes a token of a Caddyfile, if need be. In backticks, Caddy changes nothing.
func token(s string) string {
	if s == "" || strings.ContainsAny(s, " \t\"{}#\\<") {
		return "`" + s + "`"
	}
	return s
}

// finish prints everything, and writes the file.
func (r *initRun) finish(out io.Writer) error {
	if r.report.Check != nil && !r.flags.json {
		r.report.Check.Print(os.Stderr)
	}
	if r.flags.output != "" {
		if err := writeNew(r.flags.output, r.report.Caddyfile); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
	}
	switch {
	case r.flags.json:
		if err := printJSON(out, r.report); err != nil {
			return err
		}
	case r.flags.output == "":
		if _, err := io.WriteString(out, r.report.Caddyfile); err != nil {
			return err
		}
	}
	if !r.flags.json {
		r.advise()
	}
	if r.report.Check != nil && !r.report.OK {
		return errNotWell
	}
	return nil
}

// advise says what is left to do.
func (r *initRun) advise() {
	file := r.flags.output
	if file == "" {
		file = "Caddyfile"
	}
	var b strings.Builder
	switch {
	case r.report.Installed && !r.report.OK && r.report.Key.AuthorizedKey != "":
		fmt.Fprintf(&b, "\nThe line of ~%s/.ssh/authorized_keys on the server that has this key may permit less than this:\n\n%s\n", r.cfg.User, r.report.Key.AuthorizedKey)
	case !r.report.Installed:
		fmt.Fprintf(&b, "\nAdd this line to ~%s/.ssh/authorized_keys on the server:\n\n%s\n\nThen check: caddy ssh-tunnel check --config %s\n",
			r.cfg.User, r.report.Key.AuthorizedKey, file)
	}
	if r.report.SSHDConfig != "" {
		fmt.Fprintf(&b, "\nIf only Caddy uses the account %s, the server's administrator adds this at the end of\n/etc/ssh/sshd_config. It permits what this site needs, and no more:\n\n%s\n", r.cfg.User, r.report.SSHDConfig)
	}
	if r.report.Key.Source == keyAuto {
		fmt.Fprintf(&b, "The key is in Caddy's storage (%v). Run Caddy as the user %s, or with that storage.\n", r.loaded.GeneratedKeys().Storage, config.LoginName())
	}
	save := ""
	if r.flags.output == "" {
		save = "save the Caddyfile, and "
	}
	fmt.Fprintf(&b, "To serve, %srun: caddy run --config %s\n", save, file)
	_, _ = io.WriteString(os.Stderr, b.String())
}

// writeNew writes a file that does not exist.
func writeNew(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // Caddy may run as another user, and it has no secret
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Close())
}
