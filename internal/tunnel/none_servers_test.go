//go:build unix

package tunnel

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestNone: servers that let a user in with the method "none" get no key and no password,
// as from ssh.
func TestNone(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (addr, user, hostKey string){
		"sshd": func(t *testing.T) (string, string, string) {
			s := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "PasswordAuthentication yes\nPermitEmptyPasswords yes\n", BlankPassword: true})
			return s.Addr(), s.User, s.HostKeyLine()
		},
		"dropbear": func(t *testing.T) (string, string, string) {
			s := sshtest.StartDropbear(t, sshtest.DropbearOptions{Args: []string{"-B"}, BlankPassword: true})
			return s.Addr(), s.User, s.HostKeyLine()
		},
		"paramiko": func(t *testing.T) (string, string, string) {
			s := sshtest.StartParamiko(t, sshtest.ParamikoOptions{AdmitNone: true})
			return s.Addr(), s.User, s.HostKeyLine()
		},
		"x/crypto": func(t *testing.T) (string, string, string) {
			b := sshtest.NewBastion(t, sshtest.BastionOptions{AdmitNone: true})
			return b.Addr(), "anybody", b.KnownHostsLine()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, user, line := start(t)
			known := sshtest.WriteFile(t, "known_hosts", []byte(line+"\n"))
			letsIn(t, addr, user, known)

			for _, secret := range []string{"", "unused"} {
				cfg := Config{Name: name + secret, Address: addr, User: user, IdentityAgent: "none", Password: secret, KnownHosts: []string{known}}
				warnings, err := cfg.Check()
				if err != nil || secret == "" && !strings.Contains(strings.Join(warnings, "\n"), "nothing to authenticate as") {
					t.Errorf("check: %q, %v", warnings, err)
				}
				h := open(t, cfg, quick())
				if err := h.Connect(t.Context()); err != nil {
					t.Fatal(err)
				}
				roundTrip(t, mustDial(t, h, listen(t, echo)))
				s := h.Status()
				if len(s.Connections) == 0 || s.Connections[0].Authentication != "none" || s.Attempts[0].Server == "" || s.Attempts[0].Algorithms == nil {
					t.Errorf("status: %+v", s)
				}
			}
		})
	}
}

// letsIn fails the test unless ssh without any credentials is let in.
func letsIn(t *testing.T, addr, user, knownHosts string) {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	out, _ := exec.Command(sshtest.Program(t, "ssh"), "-v", "-F", "none", "-o", "IdentityFile=none", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+knownHosts, "-W", "127.0.0.1:1", "-p", port, user+"@"+host).CombinedOutput()
	if !strings.Contains(string(out), `using "none"`) {
		t.Errorf("ssh is not let in without credentials: %s", out)
	}
}
