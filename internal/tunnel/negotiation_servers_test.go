//go:build unix

package tunnel

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// negotiation_servers_test.go connects to sshds that have nothing but what is
// broken, or what we do not have.

// sshdConfigFor returns the Config of a tunnel to an sshd, with a name of the
// test's own: failures from before are another tunnel's.
func sshdConfigFor(t *testing.T, sshd *sshtest.SSHD) Config {
	t.Helper()
	return Config{
		Name: t.Name(), Address: sshd.Addr(), User: sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []IdentityFile{{Path: sshd.ClientKeyFile()}}, KnownHosts: []string{sshd.KnownHostsFile()},
	}
}

// keygen makes a key and returns the path of its private half.
func keygen(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	sshtest.Run(t, "ssh-keygen", append([]string{"-q", "-N", "", "-f", path}, args...)...)
	return path
}

// TestDowngrade: of what is broken nothing is taken unless it is written, and
// the error says what to write, or that nothing helps.
func TestDowngrade(t *testing.T) {
	rsa, short := keygen(t, "-t", "rsa", "-b", "2048"), keygen(t, "-t", "rsa", "-b", "1024")
	dsa := keygen(t, "-t", "dsa")
	ca := keygen(t, "-t", "rsa", "-b", "2048")
	signed := keygen(t, "-t", "ed25519")
	sshtest.Run(t, "ssh-keygen", "-q", "-s", ca, "-t", "ssh-rsa", "-I", "bastion", "-h", "-n", "127.0.0.1", signed+".pub")
	trust := func(key string) func(*Config) {
		return func(cfg *Config) {
			cfg.KnownHosts, cfg.HostKeys = nil, []string{strings.Join(strings.Fields(sshtest.Run(t, "cat", key+".pub"))[:2], " ")}
		}
	}
	const update = "update the bastion, or let it take better ones with "
	for name, test := range map[string]struct {
		sshd     string
		config   func(*Config) // what is needed in any case
		err      string
		cause    failure.Cause
		option   string        // the option that the error has to name
		allow    func(*Config) // that option, or nil if nothing helps
		insecure bool          // taken with a warning
	}{
		"key exchange": {
			sshd:   "KexAlgorithms diffie-hellman-group14-sha1,diffie-hellman-group1-sha1",
			err:    "no key exchange in common: the bastion has only diffie-hellman-group14-sha1, diffie-hellman-group1-sha1; that is insecure: " + update + "KexAlgorithms; if neither can be, it is taken with: kex_algorithms diffie-hellman-group14-sha1",
			cause:  failure.CauseKeyExchange,
			option: "kex_algorithms diffie-hellman-group14-sha1",
			allow:  func(cfg *Config) { cfg.KexAlgorithms = []string{"diffie-hellman-group14-sha1"} }, insecure: true,
		},
		"key exchange that is not supported": {
			sshd:  "KexAlgorithms sntrup761x25519-sha512@openssh.com",
			err:   "no key exchange in common: the bastion has only sntrup761x25519-sha512@openssh.com; that is not supported, so no option can help: " + update + "KexAlgorithms",
			cause: failure.CauseKeyExchange,
		},
		"key exchange that is left out": {
			sshd:   "KexAlgorithms ecdh-sha2-nistp256,curve25519-sha256",
			config: func(cfg *Config) { cfg.KexAlgorithms = []string{"mlkem768x25519-sha256"} },
			err:    "no key exchange in common: the bastion has only ecdh-sha2-nistp256, curve25519-sha256; option kex_algorithms leaves them out: add curve25519-sha256 to it",
			cause:  failure.CauseKeyExchange,
			option: "kex_algorithms",
			allow:  func(cfg *Config) { cfg.KexAlgorithms = append(cfg.KexAlgorithms, "curve25519-sha256") },
		},
		"cipher": {
			sshd:   "Ciphers 3des-cbc,aes256-cbc,aes128-cbc",
			err:    "no cipher in common: the bastion has only 3des-cbc, aes256-cbc, aes128-cbc; that is insecure: " + update + "Ciphers; if neither can be, it is taken with: ciphers aes128-cbc",
			cause:  failure.CauseKeyExchange,
			option: "ciphers aes128-cbc",
			allow:  func(cfg *Config) { cfg.Ciphers = []string{"aes128-cbc"} }, insecure: true,
		},
		"MAC": {
			sshd:   "Ciphers aes128-ctr\nMACs hmac-sha1,hmac-sha1-96,hmac-md5",
			err:    "no MAC in common: the bastion has only hmac-sha1, hmac-sha1-96, hmac-md5; that is insecure: " + update + "MACs; if neither can be, it is taken with: macs hmac-sha1",
			cause:  failure.CauseKeyExchange,
			option: "macs hmac-sha1",
			allow:  func(cfg *Config) { cfg.MACs = []string{"hmac-sha1"} }, insecure: true,
		},
		"MAC that is not supported": {
			sshd:  "Ciphers aes128-ctr\nMACs umac-64@openssh.com,hmac-md5",
			err:   "no MAC in common: the bastion has only umac-64@openssh.com, hmac-md5; that is not supported, so no option can help: " + update + "MACs",
			cause: failure.CauseKeyExchange,
		},
		"ssh-rsa, which is SHA-1": {
			sshd:   "HostKey " + rsa + "\nHostKeyAlgorithms ssh-rsa",
			config: trust(rsa),
			err:    "no host key algorithm in common: the bastion has only ssh-rsa; that is insecure: " + update + "HostKeyAlgorithms; if neither can be, it is taken with: host_key_algorithms ssh-rsa",
			cause:  failure.CauseKeyExchange,
			option: "host_key_algorithms ssh-rsa",
			allow:  func(cfg *Config) { cfg.HostKeyAlgorithms = []string{"ssh-rsa"} }, insecure: true,
		},
		"ssh-dss": {
			sshd:  "HostKey " + dsa + "\nHostKeyAlgorithms ssh-dss",
			err:   "no host key algorithm in common: the bastion has only ssh-dss; that is not supported, so no option can help: " + update + "HostKeyAlgorithms",
			cause: failure.CauseKeyExchange,
		},
		"short RSA host key": {
			sshd:   "HostKey " + short + "\nHostKeyAlgorithms rsa-sha2-512",
			config: trust(short),
			err:    "RSA key of 1024 bits is shorter than required_rsa_size 2048; make an Ed25519 key on the bastion with ssh-keygen -A, or a longer one; if neither can be, lower required_rsa_size",
			cause:  failure.CauseHostKeyRefused,
			option: "required_rsa_size",
			allow:  func(cfg *Config) { cfg.RequiredRSASize = 1024 },
		},
		"host certificate with SHA-1": {
			sshd: "HostKey " + signed + "\nHostCertificate " + signed + "-cert.pub",
			config: func(cfg *Config) {
				cfg.KnownHosts, cfg.HostCertificateAuthorities = nil, []string{ca + ".pub"}
			},
			err:    `is signed with "ssh-rsa", which is not among ca_signature_algorithms; sign it anew with ssh-keygen -t rsa-sha2-512 -s, or add it there`,
			cause:  failure.CauseHostKeyRefused,
			option: "ca_signature_algorithms",
			allow:  func(cfg *Config) { cfg.CASignatureAlgorithms = []string{"ssh-rsa"} }, insecure: true,
		},
		"our own RSA key, by SHA-1": {
			sshd:   "PubkeyAcceptedAlgorithms ssh-rsa\nAuthorizedKeysFile " + rsa + ".pub",
			config: func(cfg *Config) { cfg.IdentityFiles = []IdentityFile{{Path: rsa}} },
			err:    "; a bastion that takes RSA keys with SHA-1 alone, which is insecure, needs ssh-rsa in pubkey_accepted_algorithms",
			cause:  failure.CauseKeyRefused,
			option: "pubkey_accepted_algorithms",
			allow:  func(cfg *Config) { cfg.PubkeyAcceptedAlgorithms = []string{"ssh-rsa"} }, insecure: true,
		},
		"our own RSA key, which is short": {
			sshd:   "AuthorizedKeysFile " + short + ".pub",
			config: func(cfg *Config) { cfg.IdentityFiles = []IdentityFile{{Path: short}} },
			err:    "RSA key of 1024 bits is shorter than required_rsa_size 2048",
			cause:  failure.CauseNoCredentials,
			option: "required_rsa_size",
			allow:  func(cfg *Config) { cfg.RequiredRSASize = 1024 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: test.sshd + "\n"})
			cfg := sshdConfigFor(t, sshd)
			if test.config != nil {
				test.config(&cfg)
			}
			err := open(t, cfg, quick()).Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), test.option) {
				t.Fatalf("%v, want %q", err, test.err)
			}
			if cause := failure.CauseOf(err); cause != test.cause {
				t.Errorf("cause %q, want %q", cause, test.cause)
			}
			if test.allow == nil {
				return
			}
			test.allow(&cfg)
			warnings, err := cfg.Check()
			warned := slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, "is insecure; take it out") })
			if err != nil || warned != test.insecure {
				t.Errorf("Check: %q, %v", warnings, err)
			}
			if err := open(t, cfg, quick()).Connect(t.Context()); err != nil {
				t.Errorf("with %s: %v", test.option, err)
			}
		})
	}
}
