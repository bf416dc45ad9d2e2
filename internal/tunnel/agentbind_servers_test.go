//go:build unix

package tunnel

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// sshCommand runs ssh for the forwarding to nowhere, and returns what it says.
func sshCommand(t *testing.T, addr, user, knownHosts string, args ...string) string {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	args = append([]string{"-v", "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + knownHosts, "-W", "127.0.0.1:1", "-p", port}, args...)
	out, _ := exec.Command(sshtest.Program(t, "ssh"), append(args, user+"@"+host)...).CombinedOutput() // the target refuses
	return string(out)
}

// restrictedTo returns an agent with a key that may be used for some hosts only.
func restrictedTo(t *testing.T, keyFile, knownHosts string, hosts ...string) (socket string) {
	t.Helper()
	socket = sshtest.StartAgent(t)
	args := []string{"-q", "-H", knownHosts}
	for _, host := range hosts {
		args = append(args, "-h", host)
	}
	cmd := exec.Command(sshtest.Program(t, "ssh-add"), append(args, keyFile)...)
	cmd.Env = []string{"SSH_AUTH_SOCK=" + socket}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-add: %v: %s", err, out)
	}
	return socket
}

func bracketed(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	return "[" + host + "]:" + port
}

// TestRestrictedAgentKeys: keys that are restricted to a host (ssh-add -h) let us in
// there and nowhere else, as they do ssh; with all key exchanges and host keys.
func TestRestrictedAgentKeys(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]sshtest.SSHDOptions{
		"default":            {},
		"curve25519":         {Config: "KexAlgorithms curve25519-sha256\n"},
		"libssh":             {Config: "KexAlgorithms curve25519-sha256@libssh.org\n"},
		"nistp256, RSA":      {Config: "KexAlgorithms ecdh-sha2-nistp256\n", HostKey: sshtest.NewRSAKey(2048)},
		"nistp521, ECDSA":    {Config: "KexAlgorithms ecdh-sha2-nistp521\n", HostKey: sshtest.NewECDSAKey()},
		"group14, RSA":       {Config: "KexAlgorithms diffie-hellman-group14-sha256\nHostKeyAlgorithms rsa-sha2-256\n", HostKey: sshtest.NewRSAKey(3072)},
		"group16":            {Config: "KexAlgorithms diffie-hellman-group16-sha512\n"},
		"group exchange":     {Config: "KexAlgorithms diffie-hellman-group-exchange-sha256\n"},
		"banner, other user": {Config: "Banner /etc/hostname\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.StartSSHD(t, opts)
			other := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{s.ClientKey.AuthorizedKey()}})
			known := sshtest.WriteFile(t, "known_hosts", []byte(s.HostKeyLine()+"\n"+other.HostKeyLine()+"\n"))
			socket := restrictedTo(t, s.ClientKeyFile(), known, s.User+"@"+bracketed(s.Addr()))
			for addr, want := range map[string]bool{s.Addr(): true, other.Addr(): false} {
				out := sshCommand(t, addr, s.User, known, "-o", "IdentityAgent="+socket, "-o", "IdentityFile=none")
				if got := strings.Contains(out, `using "publickey"`); got != want {
					t.Fatalf("ssh is let in: %t, want %t: %s", got, want, out)
				}
				h := open(t, Config{Name: t.Name() + addr, Address: addr, User: s.User, IdentityAgent: socket, KnownHosts: []string{known}}, quick())
				if err := h.Connect(t.Context()); (err == nil) != want {
					t.Errorf("%v, want %t", err, want)
				}
			}
		})
	}
}

// TestRestrictedAgentKeysOfServers: other servers' key exchanges are understood.
func TestRestrictedAgentKeysOfServers(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) (addr, user, keyFile, line string){
		"dropbear": func(t *testing.T) (string, string, string, string) {
			s := sshtest.StartDropbear(t, sshtest.DropbearOptions{})
			return s.Addr(), s.User, s.ClientKeyFile(), s.HostKeyLine()
		},
		"paramiko": func(t *testing.T) (string, string, string, string) {
			s := sshtest.StartParamiko(t, sshtest.ParamikoOptions{})
			return s.Addr(), s.User, s.ClientKeyFile(), s.HostKeyLine()
		},
		"x/crypto": func(t *testing.T) (string, string, string, string) {
			key := sshtest.NewKey()
			b := sshtest.NewBastion(t, sshtest.BastionOptions{AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
			return b.Addr(), "user", sshtest.WriteFile(t, "id", key.PEM("")), b.KnownHostsLine()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, user, keyFile, line := start(t)
			known := sshtest.WriteFile(t, "known_hosts", []byte(line+"\n"))
			socket := restrictedTo(t, keyFile, known, bracketed(addr))
			h := open(t, Config{Name: name, Address: addr, User: user, IdentityAgent: socket, KnownHosts: []string{known}}, quick())
			if err := h.Connect(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestRestrictedAgentKeysThroughJump: every hop is bound on its own, as ssh -J does.
func TestRestrictedAgentKeysThroughJump(t *testing.T) {
	t.Parallel()
	first := sshtest.StartSSHD(t, sshtest.SSHDOptions{})
	second := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{first.ClientKey.AuthorizedKey()}})
	known := sshtest.WriteFile(t, "known_hosts", []byte(first.HostKeyLine()+"\n"+second.HostKeyLine()+"\n"))
	for name, test := range map[string]struct {
		hosts []string
		want  bool
	}{
		"both hops":      {[]string{bracketed(first.Addr()), bracketed(second.Addr())}, true},
		"the first only": {[]string{bracketed(first.Addr())}, false},
		// That is for an agent which is forwarded to the first.
		"from the first": {[]string{bracketed(first.Addr()), bracketed(first.Addr()) + ">" + bracketed(second.Addr())}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := restrictedTo(t, first.ClientKeyFile(), known, test.hosts...)
			config := sshtest.WriteFile(t, "config", []byte("Host *\nUserKnownHostsFile "+known+"\nIdentityAgent "+socket+"\nIdentityFile none\nBatchMode yes\n"))
			out, _ := exec.Command(sshtest.Program(t, "ssh"), "-v", "-F", config, "-J", first.User+"@"+first.Addr(), "-W", "127.0.0.1:1", "-p", second.Addr()[strings.Index(second.Addr(), ":")+1:], second.User+"@127.0.0.1").CombinedOutput()
			if got := strings.Contains(string(out), "Authenticated to 127.0.0.1 (via proxy)"); got != test.want {
				t.Fatalf("ssh is let in: %t, want %t: %s", got, test.want, out)
			}
			hop := func(s *sshtest.SSHD, jump *Handle) *Handle {
				h := Open(Config{Name: t.Name() + s.Addr(), Address: s.Addr(), User: s.User, IdentityAgent: socket, KnownHosts: []string{known}}, quick(), jump)
				h.Start()
				t.Cleanup(func() { closeAndWait(t, h) })
				return h
			}
			if err := hop(second, hop(first, nil)).Connect(t.Context()); (err == nil) != test.want {
				t.Errorf("%v, want %t", err, test.want)
			}
		})
	}
}

// TestRestrictedAgentKeysOfCertifiedHost: a host that shows a certificate.
func TestRestrictedAgentKeysOfCertifiedHost(t *testing.T) {
	t.Parallel()
	ca, hostKey := sshtest.NewKey(), sshtest.NewKey()
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{HostKey: hostKey, HostCertificate: sshtest.Certify(ca, hostKey, ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}})})
	known := sshtest.WriteFile(t, "known_hosts", []byte("@cert-authority * "+ca.AuthorizedKey()+"\n"))
	socket := restrictedTo(t, s.ClientKeyFile(), known, "127.0.0.1")
	if out := sshCommand(t, s.Addr(), s.User, known, "-o", "IdentityAgent="+socket, "-o", "IdentityFile=none", "-o", "HostKeyAlias=127.0.0.1"); !strings.Contains(out, `using "publickey"`) {
		t.Fatalf("ssh is not let in: %s", out)
	}
	h := open(t, Config{Name: "certified", Address: s.Addr(), User: s.User, IdentityAgent: socket, KnownHosts: []string{known}, HostKeyAlias: "127.0.0.1"}, quick())
	if err := h.Connect(t.Context()); err != nil {
		t.Error(err)
	}
}
