package sshauth

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestCheck(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := t.TempDir()
	one := sshtest.PublicOf(t, sshtest.EdKey(1))
	ca := sshtest.SignerFor(t, sshtest.EdKey(50))
	sshtest.WriteKey(t, dir+"/id", sshtest.EdKey(1), "")
	sshtest.WriteKey(t, dir+"/locked", sshtest.EdKey(2), "pass")
	sshtest.WriteKey(t, dir+"/rsa", sshtest.RSAKey(t, 1024), "")
	sshtest.Write(t, dir+"/junk", "junk")
	sshtest.Write(t, dir+"/cert", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, nil)))
	sshtest.Write(t, dir+"/expired", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1, 2 })))
	sshtest.Write(t, dir+"/noforward", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.Extensions = nil })))
	sshtest.Write(t, dir+"/hostcert", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.HostCert, one, ca, nil)))
	sshtest.WriteKey(t, dir+"/home2/.ssh/id_ed25519", sshtest.EdKey(1), "pass")
	sshtest.Write(t, dir+"/id_sk", skFile())
	sshtest.Write(t, dir+"/home3/.ssh/id_ed25519_sk", skFile())
	sshtest.Write(t, dir+"/root", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root", "admin"} })))
	sshtest.Write(t, dir+"/nobody", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil })))
	sshtest.Write(t, dir+"/early", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1<<39, 1<<39+1 })))
	listener, err := net.Listen("unix", dir+"/agent")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()

	home := func(name string) func(*Config) {
		return func(c *Config) {
			c.IdentityFiles = nil
			c.ApplyDefaults(filepath.Join(dir, name))
		}
	}
	identity := func(name, passphrase string) func(*Config) {
		return func(c *Config) {
			c.IdentityFiles = []IdentityFile{{Path: filepath.Join(dir, name), Passphrase: passphrase}}
		}
	}
	for _, test := range []struct {
		name     string
		edit     func(*Config) // of what is right
		err      string
		warnings []string
	}{
		{name: "right", edit: func(*Config) {}},
		{name: "absent identity", edit: identity("absent", ""), warnings: []string{`identity_file "/absent" does not exist; the tunnel is down until it does, unless something else lets it in`}},
		{name: "junk identity", edit: identity("junk", ""), err: `identity_file "/junk" is not a private key in OpenSSH or PEM form; write the path of the file that ssh-keygen -y -f reads`},
		{name: "directory", edit: identity("", ""), err: `identity_file "" cannot be read: is a directory`},
		{name: "short RSA", edit: identity("rsa", ""), err: `identity_file "/rsa" cannot be used: RSA key of 1024 bits is shorter than required_rsa_size 2048; make one with ssh-keygen -t ed25519`},
		{name: "no passphrase", edit: identity("locked", ""), err: `identity_file "/locked" is encrypted and has no passphrase; write it behind the key, as a placeholder, or add the key to an agent`},
		{name: "wrong passphrase", edit: identity("locked", "wrong"), err: `identity_file "/locked" cannot be decrypted: its passphrase is wrong`},
		{name: "passphrase", edit: identity("locked", "pass")},
		{name: "locked with an agent", edit: func(c *Config) {
			identity("locked", "")(c)
			c.IdentityAgent = dir + "/agent"
		}, warnings: []string{`identity_file "/locked" is encrypted and has no passphrase: only the agent can sign with it`}},
		{name: "public without an agent", edit: identity("id.pub", ""), err: `identity_file "/id.pub" has no private half, and there is no agent to sign with it; write the private key's path, or start an agent and set SSH_AUTH_SOCK`},
		{name: "security token without an agent", edit: identity("id_sk", ""), err: `identity_file "/id_sk" is a key on a security token, which only an agent can sign with; add it to one with ssh-add, and set identity_agent or SSH_AUTH_SOCK`},
		{name: "security token", edit: func(c *Config) {
			identity("id_sk", "")(c)
			c.IdentityAgent = dir + "/agent"
		}},
		{name: "security token by default", edit: home("home3"), warnings: []string{`nothing to authenticate as "deploy" with: no identity file, agent or password (identity_file "/home3/.ssh/id_ed25519_sk" is a key on a security token, which only an agent can sign with; add it to one with ssh-add, and set identity_agent or SSH_AUTH_SOCK, SSH_AUTH_SOCK is not set); the tunnel is down, unless the bastion lets this user in without any; add identity_file or password`}},
		{name: "none and some", edit: func(c *Config) { c.NoIdentityFiles = true }, err: `identity_file none contradicts identity_file "/id"; keep one of them`},
		{name: "certificate", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/cert"} }},
		{name: "absent certificate", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/absent"} }, warnings: []string{`certificate_file "/absent" does not exist; it is taken once it does`}},
		{name: "junk certificate", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/junk"} }, err: `certificate_file "/junk" is not an OpenSSH certificate`},
		{name: "key as certificate", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/id.pub"} }, err: `certificate_file "/id.pub" is a public key, not a certificate`},
		{name: "host certificate", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/hostcert"} }, err: `certificate_file "/hostcert" is not a user certificate`},
		{name: "expired certificate", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/expired"} }, warnings: []string{`certificate "/expired" expired on 1970-01-01T00:00:02Z and is ignored`}},
		{name: "certificate without forwarding", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/noforward"} }, warnings: []string{
			`certificate "/noforward" lacks the extension permit-port-forwarding: it lets in, but every channel is refused; sign it with that extension`,
		}},
		{name: "certificate of others", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/root"} }, warnings: []string{
			`certificate "/root" is for "root", "admin" and not for "deploy": the bastion refuses it, unless its AuthorizedPrincipalsFile says otherwise`,
		}},
		{name: "certificate of nobody", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/nobody"} }, warnings: []string{
			`certificate "/nobody" has no principals: the bastion refuses it, unless its AuthorizedPrincipalsFile says otherwise`,
		}},
		{name: "certificate to come", edit: func(c *Config) { c.CertificateFiles = []string{dir + "/early"} }, warnings: []string{
			`certificate "/early" is not valid before ` + algorithms.FormatTime(1<<39) + " and is ignored",
		}},
		{name: "absent agent", edit: func(c *Config) { c.IdentityFiles, c.IdentityAgent = nil, dir+"/absent" }, warnings: []string{`identity_agent "/absent" does not exist; the tunnel is down until it does`}},
		{name: "absent agent beside a key", edit: func(c *Config) { c.IdentityAgent = dir + "/absent" }, warnings: []string{`identity_agent "/absent" does not exist; its keys are offered once it does`}},
		{name: "agent", edit: func(c *Config) { c.IdentityFiles, c.IdentityAgent = nil, dir+"/agent" }},
		{name: "nothing", edit: func(c *Config) { c.IdentityFiles, c.IdentityAgent = nil, "none" }, warnings: []string{`nothing to authenticate as "deploy" with: no identity file, agent or password; the tunnel is down, unless the bastion lets this user in without any; add identity_file or password`}},
		{name: "nothing by default", edit: home("none"), warnings: []string{`nothing to authenticate as "deploy" with: no identity file, agent or password (SSH_AUTH_SOCK is not set); the tunnel is down, unless the bastion lets this user in without any; add identity_file or password`}},
		{
			name: "locked by default", edit: home("home2"),
			warnings: []string{`nothing to authenticate as "deploy" with: no identity file, agent or password (identity_file "/home2/.ssh/id_ed25519" is encrypted and has no passphrase, SSH_AUTH_SOCK is not set); the tunnel is down, unless the bastion lets this user in without any; add identity_file or password`},
		},
		{name: "password", edit: func(c *Config) { c.IdentityFiles, c.Password = nil, "{ok}" }},
		{name: "literal password", edit: func(c *Config) { c.IdentityFiles, c.Password = nil, "hunter2" }, warnings: []string{`password is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}`}},
		{name: "empty password", edit: func(c *Config) { c.Password = "{empty}" }, err: `password is empty; check what its placeholder stands for`},
		{name: "unknown passphrase", edit: identity("absent", "{x}"), err: `passphrase of identity_file "/absent": unknown placeholder {x}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := &Config{
				User: "deploy", IdentityFiles: []IdentityFile{{Path: dir + "/id"}},
				Resolve: func(s string) (string, error) {
					switch s {
					case "{ok}":
						return "value", nil
					case "{empty}":
						return "", nil
					case "{x}":
						return "", errors.New("unknown placeholder {x}")
					default:
						return s, nil
					}
				},
			}
			test.edit(cfg)
			warnings, err := cfg.Check()
			if err != nil {
				err = errors.New(strings.ReplaceAll(err.Error(), dir, ""))
			}
			sshtest.WantError(t, err, test.err)
			warnings = slices.DeleteFunc(warnings, func(w string) bool {
				return strings.HasPrefix(w, "passphrase") && strings.Contains(w, "literally") || // said by "literal password"
					strings.Contains(w, " to decrypt; ") // the race detector makes it slow
			})
			for i := range warnings {
				warnings[i] = strings.ReplaceAll(warnings[i], dir, "")
			}
			if err == nil && !slices.Equal(warnings, test.warnings) {
				t.Errorf("warnings\n got %q\nwant %q", warnings, test.warnings)
			}
			for _, s := range append(warnings, test.err) {
				if strings.Contains(s, "hunter2") || strings.Contains(s, "value") {
					t.Errorf("a secret is shown in %q", s)
				}
			}
		})
	}
}
