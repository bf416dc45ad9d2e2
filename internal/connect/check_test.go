package connect

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestCheck(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	dir := t.TempDir()
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	sshtest.WriteKey(t, dir+"/id", sshtest.EdKey(1), "")
	sshtest.Write(t, dir+"/junk", "junk")
	sshtest.Write(t, dir+"/kh", "b.example "+sshtest.AuthorizedKey(one)+"\njunk\n")
	sshtest.Write(t, dir+"/other", "c.example "+sshtest.AuthorizedKey(one)+"\n")
	sshtest.Write(t, dir+"/home/.ssh/known_hosts", "b.example "+sshtest.AuthorizedKey(one)+"\n")
	sshtest.WriteKey(t, dir+"/home/.ssh/id_ed25519", sshtest.EdKey(1), "")
	home := func(name string) func(*Config) {
		return func(c *Config) {
			c.IdentityFiles, c.HostKeys, c.KnownHosts = nil, nil, nil
			c.ApplyDefaults(filepath.Join(dir, name))
		}
	}
	for _, test := range []struct {
		name     string
		edit     func(*Config) // of what is right
		err      string
		warnings []string
	}{
		{name: "right", edit: func(*Config) {}},
		{name: "defaults", edit: home("home")},

		{name: "no port", edit: func(c *Config) { c.Address = "b.example" }, err: `host "b.example" is not <host>:<port>; write an IPv6 address in brackets`},
		{name: "bare IPv6", edit: func(c *Config) { c.Address = "::1:22" }, err: `host "::1:22" is not <host>:<port>; write an IPv6 address in brackets`},
		{name: "user left in", edit: func(c *Config) { c.Address = "u@b:22" }, err: `host "u@b:22": a host has no '@' in it`},
		{name: "port 0", edit: func(c *Config) { c.Address = "b:0" }, err: `port "0" of host "b:0" is not a number from 1 to 65535`},
		{name: "named port", edit: func(c *Config) { c.Address = "b:ssh" }, err: `port "ssh" of host "b:ssh" is not a number from 1 to 65535`},
		{name: "no user", edit: func(c *Config) { c.User = "" }, err: `no user to log in to "b.example:22" as; add user`},
		{name: "family", edit: func(c *Config) { c.AddressFamily = "ipv4" }, err: `unknown address_family "ipv4"; one of any, inet, inet6`},
		{name: "family of host", edit: func(c *Config) { c.AddressFamily, c.Address = "inet6", "10.0.0.1:22" }, err: `host "10.0.0.1:22" is not of address_family inet6`},
		{name: "bind", edit: func(c *Config) { c.BindAddress = "eth0" }, err: `bind_address "eth0" is not an IP address`},
		{name: "bind and family", edit: func(c *Config) { c.AddressFamily, c.BindAddress = "inet", "::1" }, err: `bind_address "::1" is not of address_family inet`},
		{name: "bind and host", edit: func(c *Config) { c.Address, c.BindAddress = "[::1]:22", "10.0.0.1" }, err: `bind_address "10.0.0.1" cannot reach "[::1]:22": one is IPv4, the other IPv6`},
		{name: "bind is right", edit: func(c *Config) { c.AddressFamily, c.BindAddress = "inet", "10.0.0.1" }},

		{name: "kex", edit: func(c *Config) { c.KexAlgorithms = []string{"x"} }, err: `kex_algorithms: unknown algorithm "x"; supported: ` + strings.Join(new(Config).KexOption().Supported, ", ")},
		{name: "insecure", edit: func(c *Config) { c.HostKeyAlgorithms = []string{"ssh-rsa"} }, warnings: []string{`host_key_algorithms: "ssh-rsa" is insecure; take it out once the bastion can do better`}},
		{name: "RSA size", edit: func(c *Config) { c.RequiredRSASize = 512 }, err: `required_rsa_size 512 is not from 1024 to 16384 bits`},
		{name: "negative RSA size", edit: func(c *Config) { c.RequiredRSASize = -1 }, err: `required_rsa_size -1 is not from 1024 to 16384 bits`},
		{name: "weak RSA size", edit: func(c *Config) { c.RequiredRSASize = 1024 }, warnings: []string{`required_rsa_size 1024: RSA keys of fewer than 2048 bits can be broken`}},

		{name: "junk identity", edit: func(c *Config) { c.IdentityFiles = []sshauth.IdentityFile{{Path: dir + "/junk"}} }, err: `identity_file "/junk" is not a private key in OpenSSH or PEM form; write the path of the file that ssh-keygen -y -f reads`},
		{name: "no identity", edit: func(c *Config) { c.IdentityFiles, c.IdentityAgent = nil, "none" }, warnings: []string{`nothing to authenticate as "deploy" with: no identity file, agent or password; the tunnel is down, unless the bastion lets this user in without any; add identity_file or password`}},
		{name: "literal password", edit: func(c *Config) { c.IdentityFiles, c.Password = nil, "hunter2" }, warnings: []string{`password is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}`}},
		{name: "literal password of a proxy", edit: func(c *Config) { c.Proxy = &dial.Proxy{Scheme: "http", Address: "p:1", User: "u", Password: "hunter2"} }, warnings: []string{`password of proxy http://p:1 is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}`}},
		{name: "user of a proxy alone", edit: func(c *Config) { c.Proxy = &dial.Proxy{Scheme: "http", Address: "p:1", User: "{ok}", Password: ""} }},
		{name: "empty user of a proxy", edit: func(c *Config) {
			c.Proxy = &dial.Proxy{Scheme: "http", Address: "p:1", User: "{empty}", Password: "{ok}"}
		}, err: `user of proxy http://p:1 is empty; check what its placeholder stands for`},
		{name: "empty password of a proxy", edit: func(c *Config) {
			c.Proxy = &dial.Proxy{Scheme: "http", Address: "p:1", User: "{ok}", Password: "{empty}"}
		}, err: `password of proxy http://p:1 is empty; check what its placeholder stands for`},
		{name: "nothing to verify with", edit: func(c *Config) { c.HostKeys = nil }, err: `no known_hosts file or host_key to verify "b.example:22" against; run 'caddy ssh-tunnel keyscan b.example' and add the host_key that it prints`},
		{name: "known_hosts", edit: func(c *Config) { c.HostKeys, c.KnownHosts = nil, []string{dir + "/kh"} }, warnings: []string{"known_hosts line /kh:2 is skipped: too few words"}},
		{name: "known_hosts of others", edit: func(c *Config) { c.HostKeys, c.KnownHosts = nil, []string{dir + "/other"} }, warnings: []string{
			"nothing in /other is about b.example; the tunnel is down until there is: add host_key or a known_hosts line, which 'caddy ssh-tunnel keyscan b.example' prints",
		}},
		{name: "absent known_hosts", edit: func(c *Config) { c.HostKeys, c.KnownHosts = nil, []string{dir + "/absent"} }, warnings: []string{
			"nothing in /absent is about b.example; the tunnel is down until there is: add host_key or a known_hosts line, which 'caddy ssh-tunnel keyscan b.example' prints", `known_hosts "/absent" does not exist; it is read once it does`,
		}},
		{name: "known_hosts is a directory", edit: func(c *Config) { c.KnownHosts = []string{dir + "/home"} }, err: `known_hosts "/home" cannot be read: is a directory`},
		{name: "malformed host_key", edit: func(c *Config) { c.HostKeys = []string{"SHA256:x"} }, err: `host_key "SHA256:x" is not a whole SHA256 fingerprint; copy it from ssh-keygen -lf`},
		{name: "malformed authority", edit: func(c *Config) { c.HostCertificateAuthorities = []string{"ssh-ed25519 x"} }, err: `host_certificate_authority "ssh-ed25519 x" is not valid base64; copy the whole line`},
		{name: "junk authority", edit: func(c *Config) { c.HostCertificateAuthorities = []string{dir + "/junk"} }, err: `host_certificate_authority "/junk" line 1 is not of the form <type> <base64>`},
		{name: "authority", edit: func(c *Config) {
			c.HostKeys, c.HostCertificateAuthorities = nil, []string{sshtest.AuthorizedKey(two), dir + "/id.pub"}
		}},
		{name: "absent authority", edit: func(c *Config) { c.HostCertificateAuthorities = []string{dir + "/absent"} }, warnings: []string{`host_certificate_authority "/absent" does not exist; no certificate that it signed is accepted until it does`}},
		{name: "unchecked", edit: func(c *Config) { c.HostKeys, c.InsecureIgnoreHostKey = nil, true }, warnings: []string{
			`strict_host_key_checking no: whoever answers at "b.example:22" is trusted, and can read and change all that goes through the tunnel; add host_key or known_hosts instead`,
		}},
		{name: "unchecked with a password", edit: func(c *Config) { c.InsecureIgnoreHostKey, c.Password = true, "{ok}" }, err: `strict_host_key_checking no together with password would send it to anybody who answers; add host_key or known_hosts instead`},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := &Config{
				Name: "prod", Address: "b.example:22", User: "deploy",
				IdentityFiles: []sshauth.IdentityFile{{Path: dir + "/id"}}, HostKeys: []string{ssh.FingerprintSHA256(one)},
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
