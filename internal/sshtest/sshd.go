//go:build unix

package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// sshd.go runs the real OpenSSH server.

// SSHDOptions say what an SSHD is like. The zero value permits everything to
// the client key that it makes, and nothing else.
type SSHDOptions struct {
	// Config is added to sshd_config(5). Its lines win over ours, and it may
	// end in Match blocks.
	Config string

	// AuthorizedKeys may log in besides the client key: lines in the form of
	// authorized_keys, options included.
	AuthorizedKeys []string

	// HostKey is the server's key. Default: a new Ed25519 key.
	HostKey *Key

	// HostCertificate is a certificate for HostKey. Default: none.
	HostCertificate *ssh.Certificate

	// Netns runs it inside, listening on its Addr. Default: on 127.0.0.1.
	Netns *Netns

	// BlankPassword gives our user an empty password, which needs root. With
	// PasswordAuthentication and PermitEmptyPasswords in Config, the method
	// "none" lets such a user in.
	BlankPassword bool

	// MaxFiles is how many files each of its processes may open
	// (getrlimit(2), RLIMIT_NOFILE). Default: as many as we may.
	MaxFiles int
}

// SSHD is a running OpenSSH server. Whoever logs in is us.
type SSHD struct {
	*daemon
	// first are the lines of sshd_config that Reconfigure has put there.
	first string
}

// sshdConfig is what holds unless the options say otherwise: of two lines, the
// first counts. With SHLVL, bash does not read ~/.bashrc for each command that sshd runs.
const sshdConfig = `
AuthorizedKeysFile %[1]s
PermitRootLogin yes
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
SetEnv SHLVL=2
LogLevel VERBOSE
`

// maxStartups is ours unless the options have one. Of two such lines, the last
// counts.
const maxStartups = "MaxStartups 1000\n"

var (
	maxStartupsLine = regexp.MustCompile(`(?im)^[ \t]*maxstartups[ \t]`)

	matchLine = regexp.MustCompile(`(?im)^[ \t]*match[ \t]`)
	// sshdAccepted is not "Accepted key", which is a key that could log in.
	sshdAccepted = regexp.MustCompile(`(?m)^Accepted \S+ for `)
)

// StartSSHD starts sshd. It is stopped when the test ends, and its log printed
// if the test has failed. Where sshd is not installed the test is skipped.
func StartSSHD(t testing.TB, opts SSHDOptions) *SSHD {
	t.Helper()
	path, limiter := Program(t, "sshd"), ""
	if opts.MaxFiles > 0 {
		limiter = Program(t, "prlimit")
	}
	if os.Geteuid() == 0 {
		// Debian's directory for sshd's unprivileged child, which systemd makes
		// elsewhere. sshd does not start without it.
		_ = os.MkdirAll("/run/sshd", 0o755)
	}
	host := "127.0.0.1"
	if opts.Netns != nil {
		host = opts.Netns.Addr()
	}
	d := newDaemon(t, host)
	if opts.HostKey != nil {
		d.HostKey = opts.HostKey
	}
	keyFile := d.write("host_key", d.HostKey.PEM(""))
	keys := append([]string{d.ClientKey.AuthorizedKey()}, opts.AuthorizedKeys...)
	keysFile := d.write("authorized_keys", []byte(strings.Join(keys, "\n")+"\n"))

	fixed := fmt.Sprintf("ListenAddress %s\nPidFile none\nHostKey %s\n", host, keyFile)
	if opts.HostCertificate != nil {
		certFile := d.write("host_key-cert.pub", []byte(AuthorizedKey(opts.HostCertificate)+"\n"))
		fixed += "HostCertificate " + certFile + "\n"
	}
	if !maxStartupsLine.MatchString(opts.Config) {
		fixed += maxStartups
	}
	// A Match block goes on to the end of the file, so ours come before it.
	global, matches := opts.Config, ""
	if at := matchLine.FindStringIndex(global); at != nil {
		global, matches = global[:at[0]], global[at[0]:]
	}
	config := fixed + global + fmt.Sprintf(sshdConfig, keysFile) + matches + "\n"

	var wrapper []string
	if opts.BlankPassword {
		wrapper = withBlankPassword(t, d, "sshd")
	}
	s := &SSHD{daemon: d}
	d.listening, d.accepted = "Server listening on ", sshdAccepted
	d.command = func() *exec.Cmd {
		file := d.write("sshd_config", []byte(s.first+fmt.Sprintf("Port %d\n", d.Port)+config))
		args := []string{path, "-D", "-e", "-f", file}
		if opts.MaxFiles > 0 {
			// It becomes sshd: its process is sshd's.
			args = append([]string{limiter, fmt.Sprintf("--nofile=%d", opts.MaxFiles)}, args...)
		}
		args = append(slices.Clone(wrapper), args...)
		if opts.Netns != nil {
			return opts.Netns.Command(args[0], args[1:]...)
		}
		return exec.Command(args[0], args[1:]...)
	}
	d.run()
	return s
}

// Reconfigure puts lines before all others in sshd_config, in the place of those
// that it has put there before, and makes sshd read it. The sessions go on as they
// began.
func (s *SSHD) Reconfigure(lines string) {
	s.t.Helper()
	s.first = lines
	s.command() // writes it
	before := len(s.Log())
	// It says that it listens before it handles the signal, which would end it.
	Eventually(s.t, daemonStart, "sshd handles SIGHUP", s.handlesHangup)
	_ = s.process.Process.Signal(syscall.SIGHUP)
	Eventually(s.t, daemonStart, "sshd listens again", func() bool { return strings.Contains(s.Log()[before:], s.listening) })
}

// handlesHangup reports whether the server has a handler for SIGHUP: proc(5), SigCgt.
func (s *SSHD) handlesHangup() bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return true // this system does not say
	}
	_, mask, _ := strings.Cut(string(status), "SigCgt:")
	mask, _, _ = strings.Cut(strings.TrimSpace(mask), "\n")
	caught, _ := strconv.ParseUint(mask, 16, 64)
	return caught&(1<<(syscall.SIGHUP-1)) != 0
}

// AuthorizedKeysFile returns the path of the file of keys that may log in. It
// is read at each login.
func (s *SSHD) AuthorizedKeysFile() string { return filepath.Join(s.Dir, "authorized_keys") }
