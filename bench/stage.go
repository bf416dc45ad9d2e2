package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// stage.go sets up what all ways to the web server share: programs, keys, the
// server, and an sshd for whoever wants one.

// startWait is how long a server may take until it serves.
const startWait = 20 * time.Second

// stage is what a run of the benchmark stands on.
type stage struct {
	options options
	dir     string // for keys, configurations and logs; removed in the end
	shared  string // for what nginx serves; removed in the end
	root    string // of the repository
	caddy   string // the binaries' paths
	ssh     string
	sshd    string
	wrk     string // empty if it is not there
	nginx   string // empty if it is not there
	user    string

	webAddr   string              // addrs[goWeb]
	addrs     map[upstream]string // of the web servers that run
	processes []*process          // all that were started, in order
	files     int                 // how many names were given out in dir
	ways      map[wayKey]*way
	measuring string // the id of the workload
}

// newStage builds Caddy and starts the web server. Call close, also after an
// error.
func newStage(ctx context.Context, o options) (*stage, error) {
	s := &stage{options: o, ways: make(map[wayKey]*way), addrs: make(map[upstream]string)}
	me, err := user.Current()
	if err != nil {
		return s, fmt.Errorf("looking up our user: %w", err)
	}
	s.user = me.Username
	if s.root, err = repositoryRoot(); err != nil {
		return s, err
	}
	if s.sshd, err = findProgram(o.sshd, "sshd", "openssh-server"); err != nil {
		return s, err
	}
	if s.ssh, err = findProgram(o.ssh, "ssh", "openssh-client"); err != nil {
		return s, err
	}
	s.wrk, _ = exec.LookPath("wrk")
	if s.nginx, err = findProgram("", "nginx", "nginx-light"); err != nil {
		s.nginx = ""
	}
	if err := adoptOrphans(); err != nil {
		return s, err
	}
	// A stream through ssh -L takes two descriptors of Caddy, and as many of
	// ssh.
	if err := raiseFileLimit(uint64(2*o.streams + 4096)); err != nil { //nolint:gosec // G115: it is not negative
		return s, err
	}
	if s.dir, err = os.MkdirTemp("", "ssh-tunnel-bench-"); err != nil {
		return s, err
	}
	if err := s.makeKeys(); err != nil {
		return s, err
	}
	s.caddy = filepath.Join(s.dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", s.caddy, "./cmd/caddy") //nolint:gosec // G204: our own path
	build.Dir, build.Stderr = s.root, os.Stderr
	if err := build.Run(); err != nil {
		return s, fmt.Errorf("building Caddy: %w", err)
	}
	return s, errors.Join(s.startWeb(), s.startNginx())
}

// close ends all that was started, those that use others first, and removes
// the directories.
func (s *stage) close() error {
	for _, p := range slices.Backward(s.processes) {
		p.stop()
	}
	var errs []error
	for _, dir := range []string{s.dir, s.shared} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// start starts a program that ends with the stage, if not before.
func (s *stage) start(name string, cmd *exec.Cmd) (*process, error) {
	p, err := startProcess(name, cmd, s.file(name+".log"))
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return p, err
}

// file returns a path that has not been used, for a file of that kind.
func (s *stage) file(kind string) string {
	s.files++
	return filepath.Join(s.dir, strconv.Itoa(s.files)+"-"+kind)
}

// write writes a file into the stage's directory.
func (s *stage) write(name, content string) error {
	return os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600)
}

// makeKeys writes the key of sshd, and the one that may log in.
func (s *stage) makeKeys() error {
	host, client := sshtest.NewKey(), sshtest.NewKey()
	return errors.Join(
		s.write("host_key", string(host.PEM(""))),
		s.write("id_ed25519", string(client.PEM(""))),
		s.write("authorized_keys", client.AuthorizedKey()+"\n"),
		// Whatever port: there are several servers with this key.
		s.write("known_hosts", "bench "+host.AuthorizedKey()+"\n"),
	)
}

// startWeb starts the web server as a process of its own.
func (s *stage) startWeb() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := command(self, webArgument)
	if _, err := cmd.StdinPipe(); err != nil { // closed by our end, which is its
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p, err := s.start("web", cmd)
	if err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return p.failed("did not tell its address")
	}
	s.webAddr = strings.TrimSpace(line)
	s.addrs[goWeb] = s.webAddr
	return nil
}

// startSSHD starts an OpenSSH server, and returns its address. Its
// configuration is the stock one as far as a server of our own on a port of our
// own allows, and its environment ours with further variables.
func (s *stage) startSSHD(env ...string) (*process, string, error) {
	return s.startSSHDOn("127.0.0.1", env...)
}

// startSSHDOn is startSSHD on another IP address.
func (s *stage) startSSHDOn(host string, env ...string) (*process, string, error) {
	if os.Geteuid() == 0 {
		// Debian's directory for sshd's unprivileged child, which systemd makes
		// elsewhere. sshd does not start without it.
		_ = os.MkdirAll("/run/sshd", 0o755) //nolint:gosec // G301: that is how it has to be
	}
	// Between our finding a port free and sshd's taking it, another process may.
	var err error
	for range 3 {
		var port int
		if port, err = sshtest.FreePort(); err != nil {
			return nil, "", err
		}
		config := s.file("sshd_config")
		text := fmt.Sprintf("Port %d\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\n",
			port, host, filepath.Join(s.dir, "host_key"), filepath.Join(s.dir, "authorized_keys"))
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, "", err
		}
		cmd := command(s.sshd, "-D", "-e", "-f", config)
		if s.options.sshdFiles > 0 {
			cmd = command("/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, s.options.sshdFiles), s.sshd, "-D", "-e", "-f", config)
		}
		cmd.Env = append(os.Environ(), env...)
		var p *process
		if p, err = s.start("sshd", cmd); err != nil {
			return nil, "", err
		}
		if err = p.waitForLog("Server listening on", startWait); err == nil {
			return p, net.JoinHostPort(host, strconv.Itoa(port)), nil
		}
		p.stop()
	}
	return nil, "", err
}

// startSSH starts `ssh -N -L`, with a stock configuration and further options,
// and returns the address that it will listen on. It does not wait for that.
func (s *stage) startSSH(sshd, target string, options ...string) (*process, string, error) {
	port, err := sshtest.FreePort()
	if err != nil {
		return nil, "", err
	}
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := s.runSSH(sshd, append(options, "-L", listen+":"+target)...)
	return p, listen, err
}

// runSSH starts `ssh -N` with further arguments, and does not wait for its
// login.
func (s *stage) runSSH(sshd string, args ...string) (*process, error) {
	host, port, err := net.SplitHostPort(sshd)
	if err != nil {
		return nil, err
	}
	return s.start("ssh", command(s.ssh, append(args,
		"-N", "-F", "none",
		"-i", filepath.Join(s.dir, "id_ed25519"), "-p", port,
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(s.dir, "known_hosts"), "-o", "GlobalKnownHostsFile=none",
		"-o", "HostKeyAlias=bench", "-o", "StrictHostKeyChecking=yes", s.user+"@"+host,
	)...))
}

// findProgram returns the absolute path of a program: sshd runs itself again
// by it. It looks where a user's PATH does not, too.
func findProgram(path, name, debian string) (string, error) {
	candidates := []string{path}
	if path == "" {
		candidates = []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name}
	}
	for _, candidate := range candidates {
		if found, err := exec.LookPath(candidate); err == nil {
			return filepath.Abs(found)
		}
	}
	if path != "" {
		return "", fmt.Errorf("no program %q", path)
	}
	return "", fmt.Errorf("no %s in PATH; install it (Debian's package is %s), or say where it is with -%s", name, debian, name)
}

// repositoryRoot returns the directory of go.mod.
func repositoryRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("asking go for the module: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	root := filepath.Dir(mod)
	if _, err := os.Stat(filepath.Join(root, "cmd", "caddy")); filepath.Base(mod) != "go.mod" || err != nil {
		return "", errors.New("no ./cmd/caddy; run 'go run ./bench' from the root of the repository")
	}
	return root, nil
}
