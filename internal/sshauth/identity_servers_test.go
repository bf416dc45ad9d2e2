//go:build unix

package sshauth

import (
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// identity_servers_test.go logs in to a real sshd with what is there of an identity
// file, and compares with ssh.

func TestPartsOfIdentities(t *testing.T) {
	t.Parallel()
	sshtest.Program(t, "ssh")
	plain, certified, other := sshtest.EdKey(101), sshtest.EdKey(102), sshtest.EdKey(103)
	ca := sshtest.SignerFor(t, sshtest.EdKey(104))
	dir := t.TempDir()
	sshtest.Write(t, dir+"/ca.pub", sshtest.AuthorizedKey(ca.PublicKey())+"\n")
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "TrustedUserCAKeys " + dir + "/ca.pub\n", AuthorizedKeys: []string{sshtest.AuthorizedKey(sshtest.PublicOf(t, plain))}})
	cert := sshtest.CertifyKey(t, ssh.UserCert, sshtest.PublicOf(t, certified), ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{s.User} })
	certText := sshtest.AuthorizedKey(cert) + "\n"
	for _, c := range []struct {
		name   string
		file   string // the IdentityFile
		files  func(dir string)
		agent  []crypto.PrivateKey
		in     bool
		differ bool // from ssh, which does otherwise
	}{
		{
			name: "public key alone, held by the agent", in: true, agent: []crypto.PrivateKey{other, plain},
			files: func(d string) { sshtest.Write(t, d+"/id.pub", sshtest.AuthorizedKey(sshtest.PublicOf(t, plain))+"\n") },
		},
		{
			name: "public key alone, not held", agent: []crypto.PrivateKey{other},
			files: func(d string) { sshtest.Write(t, d+"/id.pub", sshtest.AuthorizedKey(sshtest.PublicOf(t, plain))+"\n") },
		},
		{
			name: "nothing", agent: []crypto.PrivateKey{other},
			files: func(string) {},
		},
		{
			name: "public key named", file: "id.pub", in: true, agent: []crypto.PrivateKey{plain},
			files: func(d string) { sshtest.Write(t, d+"/id.pub", sshtest.AuthorizedKey(sshtest.PublicOf(t, plain))+"\n") },
		},
		{
			name: "encrypted key, held by the agent", in: true, agent: []crypto.PrivateKey{plain},
			files: func(d string) { sshtest.WriteKey(t, d+"/id", plain, "secret") },
		},
		{
			name: "encrypted key without a public key, held by the agent", in: true, agent: []crypto.PrivateKey{plain},
			files: func(d string) {
				sshtest.WriteKey(t, d+"/id", plain, "secret")
				remove(t, d+"/id.pub")
			},
		},
		{
			name: "a file that is no key, with its public key", in: true, agent: []crypto.PrivateKey{plain},
			files: func(d string) {
				sshtest.Write(t, d+"/id", "PuTTY-User-Key-File-3: ssh-ed25519\n")
				sshtest.Write(t, d+"/id.pub", sshtest.AuthorizedKey(sshtest.PublicOf(t, plain))+"\n")
			},
		},
		{
			name: "certificate in .pub", in: true,
			files: func(d string) {
				sshtest.WriteKey(t, d+"/id", certified, "")
				sshtest.Write(t, d+"/id.pub", certText)
			},
		},
		{
			name: "certificate in .pub alone, held by the agent", in: true, agent: []crypto.PrivateKey{certified}, differ: true,
			files: func(d string) { sshtest.Write(t, d+"/id.pub", certText) },
		},
		{
			name: "certificate named, its key held by the agent", file: "id.pub", in: true, agent: []crypto.PrivateKey{certified}, differ: true,
			files: func(d string) { sshtest.Write(t, d+"/id.pub", certText) },
		},
		{
			name: "certificate beside a public key, held by the agent", in: true, agent: []crypto.PrivateKey{certified},
			files: func(d string) {
				sshtest.Write(t, d+"/id.pub", sshtest.AuthorizedKey(sshtest.PublicOf(t, certified))+"\n")
				sshtest.Write(t, d+"/id-cert.pub", certText)
			},
		},
		{
			name: "certificate beside the key", in: true,
			files: func(d string) {
				sshtest.WriteKey(t, d+"/id", certified, "")
				sshtest.Write(t, d+"/id-cert.pub", certText)
			},
		},
		{
			name: "public key of another", in: true,
			files: func(d string) {
				sshtest.WriteKey(t, d+"/id", plain, "")
				sshtest.Write(t, d+"/id.pub", sshtest.AuthorizedKey(sshtest.PublicOf(t, other))+"\n")
			},
			differ: true, // ssh believes the .pub, and then refuses its own file
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, file := t.TempDir(), "id"
			if c.file != "" {
				file = c.file
			}
			path := filepath.Join(dir, file)
			c.files(dir)
			var held []agent.AddedKey
			for _, key := range c.agent {
				held = append(held, agent.AddedKey{PrivateKey: key})
			}
			socket := sshtest.StartAgent(t, held...)
			cmd := exec.CommandContext(t.Context(), "ssh", "-F", "none", "-v", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent="+socket,
				"-o", "UserKnownHostsFile="+s.KnownHostsFile(), "-o", "IdentityFile="+path, "-p", strconv.Itoa(s.Port), s.User+"@"+s.Host, "true")
			out, err := cmd.CombinedOutput()
			if bySSH := err == nil; bySSH != (c.in && !c.differ) {
				t.Errorf("ssh: in %v\n%s", bySSH, out)
			}
			cfg := &Config{User: s.User, IdentityAgent: socket, IdentityFiles: []IdentityFile{{Path: path}}, IdentitiesOnly: true}
			if _, err := cfg.Check(); err != nil {
				t.Errorf("refused at load: %v", err)
			}
			if _, err := logIn(t, cfg, nil, s.Addr()); (err == nil) != c.in {
				t.Errorf("in %v: %v", err == nil, err)
			}
		})
	}
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
