//go:build unix

package sshauth

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// offering is what somebody has to log in with: seeds of keys.
type offering struct {
	agent    []byte
	files    []byte // private keys
	publics  []byte // .pub files alone
	certs    []byte // certificate files, whose keys are among the others
	only     bool   // IdentitiesOnly
	defaults bool   // nobody has named the files
}

// first is the key that is offered first.
func (o offering) first() byte { return slices.Concat(o.publics, o.agent, o.files)[0] }

// setUp returns how ssh and a tunnel are configured with an offering.
func (o offering) setUp(t *testing.T) (args []string, cfg Config) {
	t.Helper()
	dir := t.TempDir()
	args = []string{"-o", "IdentityAgent=none"}
	cfg = Config{IdentityAgent: "none", IdentitiesOnly: o.only}
	if o.agent != nil {
		var keys []agent.AddedKey
		for _, seed := range o.agent {
			key := sshtest.EdKey(seed)
			keys = append(keys, agent.AddedKey{PrivateKey: &key})
		}
		cfg.IdentityAgent = sshtest.StartAgent(t, keys...)
		args = []string{"-o", "IdentityAgent=" + cfg.IdentityAgent}
	}
	if o.only {
		args = append(args, "-o", "IdentitiesOnly=yes")
	}
	if len(o.files)+len(o.publics) == 0 {
		args = append(args, "-o", "IdentityFile=none")
	}
	add := func(path string) {
		args = append(args, "-i", path)
		cfg.IdentityFiles = append(cfg.IdentityFiles, IdentityFile{Path: path, Default: o.defaults})
	}
	for _, seed := range o.files {
		path := fmt.Sprintf("%s/file%d", dir, seed)
		sshtest.WriteKey(t, path, sshtest.EdKey(seed), "")
		add(path)
	}
	for _, seed := range o.publics {
		path := fmt.Sprintf("%s/public%d.pub", dir, seed)
		sshtest.Write(t, path, sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(seed))))
		add(path)
	}
	for _, seed := range o.certs {
		path := fmt.Sprintf("%s/cert%d", dir, seed)
		sshtest.Write(t, path, sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, sshtest.PublicOf(t, sshtest.EdKey(seed)), sshtest.SignerFor(t, sshtest.EdKey(50)), nil)))
		args = append(args, "-o", "CertificateFile="+path)
		cfg.CertificateFiles = append(cfg.CertificateFiles, path)
	}
	return args, cfg
}

// sshCommand runs ssh for the forwarding to nowhere, and returns what it says.
func sshCommand(t *testing.T, addr, user, knownHosts string, args ...string) string {
	t.Helper()
	host, port, _ := strings.Cut(addr, ":")
	args = append([]string{"-v", "-F", "none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile=" + knownHosts, "-W", "127.0.0.1:1", "-p", port}, args...)
	out, _ := exec.Command(sshtest.Program(t, "ssh"), append(args, user+"@"+host)...).CombinedOutput() // the target refuses
	return string(out)
}

// TestOfferOrderBesideSSH: the bastion sees the keys in the order in which it sees
// them from ssh.
func TestOfferOrderBesideSSH(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]offering{
		"agent":                        {agent: []byte{1, 2, 3}},
		"files":                        {files: []byte{3, 1, 2}},
		"agent before files":           {agent: []byte{1, 2}, files: []byte{3, 4}},
		"agent before default files":   {agent: []byte{1, 2}, files: []byte{3, 4, 5}, defaults: true},
		"named ones of the agent":      {agent: []byte{1, 2, 3, 4}, publics: []byte{4, 2}},
		"default ones of the agent":    {agent: []byte{1, 2, 3, 4}, files: []byte{4, 5, 2}, defaults: true},
		"identities only":              {agent: []byte{1, 2, 3}, publics: []byte{3, 2}, files: []byte{4}, only: true},
		"a certificate file":           {files: []byte{1, 2}, certs: []byte{2}},
		"a certificate file and agent": {agent: []byte{1, 2}, files: []byte{3}, certs: []byte{3}},
		"an agent's certificate file":  {agent: []byte{1, 2, 3}, publics: []byte{2}, certs: []byte{3}},
		"six":                          {agent: []byte{1, 2, 3, 4, 5}, files: []byte{6}, defaults: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args, cfg := o.setUp(t)
			attempts := func(login func(addr, known string)) (list []string) {
				b := sshtest.NewBastion(t, sshtest.BastionOptions{MaxAuthTries: 20})
				login(b.Addr(), sshtest.WriteFile(t, "known_hosts", []byte(b.KnownHostsLine()+"\n")))
				for _, a := range b.Attempts() {
					list = append(list, a.Key)
				}
				return list
			}
			want := attempts(func(addr, known string) { sshCommand(t, addr, "user", known, args...) })
			got := attempts(func(addr, _ string) {
				cfg.User = "user"
				if _, err := logIn(t, &cfg, nil, addr); causeOf(err) != failure.CauseKeyRefused {
					t.Errorf("got %v", err)
				}
			})
			if len(want) == 0 || !slices.Equal(got[:min(len(got), len(want))], want) {
				t.Errorf("offered %q\n    ssh %q", got, want)
			}
		})
	}
}

// TestMaxAuthTriesBesideSSH: where ssh is let in, so are we at the first login,
// and the second one is refused nothing.
func TestMaxAuthTriesBesideSSH(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		offering
		right byte
		tries int
	}{
		"the last of five in the agent":      {offering{agent: []byte{1, 2, 3, 4, 5}}, 5, 6},
		"agent, with default files":          {offering{agent: []byte{9}, files: []byte{1, 2, 3}, defaults: true}, 9, 3},
		"the last of six":                    {offering{agent: []byte{1, 2, 3}, files: []byte{4, 5, 6}, defaults: true}, 6, 6},
		"hardened, a named one of the agent": {offering{agent: []byte{1, 2, 3, 4, 5}, publics: []byte{5}}, 5, 3},
		"hardened, three":                    {offering{agent: []byte{1, 2}, files: []byte{3}}, 3, 3},
		"hardened, four":                     {offering{files: []byte{1, 2, 3, 4}, defaults: true}, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sshtest.StartSSHD(t, sshtest.SSHDOptions{
				Config: fmt.Sprintf("MaxAuthTries %d\nLogLevel DEBUG\n", test.tries), AuthorizedKeys: []string{sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(test.right)))},
			})
			args, cfg := test.setUp(t)
			if out := sshCommand(t, s.Addr(), s.User, s.KnownHostsFile(), args...); !strings.Contains(out, `using "publickey"`) {
				t.Fatalf("ssh is not let in: %s", out)
			}
			cfg.User = s.User
			var memory Memory
			if _, err := logIn(t, &cfg, &memory, s.Addr()); err != nil {
				t.Fatal(err)
			}
			refused, logins := strings.Count(s.Log(), "Failed publickey"), s.Logins()
			if _, err := logIn(t, &cfg, &memory, s.Addr()); err != nil {
				t.Fatal(err)
			}
			sshtest.Eventually(t, 10*time.Second, "another login", func() bool { return s.Logins() > logins })
			if n := strings.Count(s.Log(), "Failed publickey"); n > refused || refused == 0 && test.right != test.first() {
				t.Errorf("%d keys were refused before the second login, then %d", refused, n)
			}
		})
	}
}
