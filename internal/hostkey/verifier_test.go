package hostkey

import (
	"crypto"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// hostConfig is a Config that knows what a known_hosts file says.
func hostConfig(t testing.TB, known string) *Config {
	t.Helper()
	cfg := &Config{Address: "b.example:22"}
	if known != "" {
		path := filepath.Join(t.TempDir(), "kh")
		sshtest.Write(t, path, known)
		cfg.KnownHosts = []string{path}
	}
	return cfg
}

func loadFor(t testing.TB, cfg *Config) *Verifier {
	t.Helper()
	h, err := Load(t.Context(), cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// verifyOnce verifies a key with what cfg knows. The directory of its files is
// taken out of the error.
func verifyOnce(t testing.TB, cfg *Config, key ssh.PublicKey) (*Verifier, error) {
	t.Helper()
	h := loadFor(t, cfg)
	err := h.verify(t.Context(), key)
	if refused, ok := errors.AsType[*failure.HostKeyError](err); ok {
		if want := ssh.FingerprintSHA256(algorithms.PlainKey(key)); refused.Offered != want {
			t.Errorf("offered %s, want %s", refused.Offered, want)
		}
		for _, path := range cfg.KnownHosts {
			refused.Message = strings.ReplaceAll(refused.Message, filepath.Dir(path)+"/", "")
		}
	} else if err != nil {
		t.Errorf("error of type %T", err)
	}
	if accepted := h.Accepted(); (accepted != nil) != (err == nil) {
		t.Errorf("accepted %v after %v", accepted, err)
	}
	return h, err
}

func TestVerify(t *testing.T) {
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	rsa2048, rsa1024 := sshtest.PublicOf(t, sshtest.RSAKey(t, 2048)), sshtest.PublicOf(t, sshtest.RSAKey(t, 1024))
	line := func(host string, key ssh.PublicKey) string { return host + " " + sshtest.AuthorizedKey(key) + "\n" }
	const (
		ed         = "ssh-ed25519 "
		comparison = "; either somebody is in the middle, or the bastion has a new key: compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there before you change what is expected"
	)
	f1, f2 := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(two)
	for _, test := range []struct {
		name    string
		known   string
		edit    func(*Config)
		key     ssh.PublicKey
		err     string
		unknown bool
	}{
		{name: "known", known: line("b.example", one), key: one},
		{name: "one of two", known: line("b.example", two) + line("b.example", one), key: one},
		{name: "host_key", key: one, edit: func(c *Config) { c.HostKeys = []string{sshtest.AuthorizedKey(one) + " comment"} }},
		{name: "fingerprint", key: one, edit: func(c *Config) { c.HostKeys = []string{f1 + "="} }},
		{name: "union", known: line("b.example", two), key: one, edit: func(c *Config) { c.HostKeys = []string{f1} }},
		{name: "alias", known: line("prod", one), key: one, edit: func(c *Config) { c.HostKeyAlias = "Prod" }},
		{name: "ignored", key: one, edit: func(c *Config) { c.InsecureIgnoreHostKey = true }},
		{name: "RSA", known: line("b.example", rsa2048), key: rsa2048},
		{
			name: "mismatch", known: "# \n" + line("b.example", two), key: one,
			err: `host key mismatch for "b.example:22": offered ` + ed + f1 + ", but expected " + ed + f2 + " (kh:2)" + comparison,
		},
		{
			name: "mismatch of a fingerprint", key: one, edit: func(c *Config) { c.HostKeys = []string{f2} },
			err: `host key mismatch for "b.example:22": offered ` + ed + f1 + ", but expected " + f2 + " (host_key)" + comparison,
		},
		{
			name: "mismatch names the same type first", known: line("b.example", rsa2048) + line("b.example", two), key: one,
			err: `host key mismatch for "b.example:22": offered ` + ed + f1 + ", but expected " + ed + f2 + " (kh:2), ssh-rsa " + ssh.FingerprintSHA256(rsa2048) + " (kh:1)" + comparison,
		},
		{
			name: "listed under the port", known: line("b.example", one) + line("[b.example]:2222", two), key: one, edit: func(c *Config) { c.Address = "b.example:2222" },
			err: `host key mismatch for "b.example:2222": offered ` + ed + f1 + ", but expected " + ed + f2 + " (kh:2)" + comparison,
		},
		{
			name: "unknown", known: line("other", one), key: one, unknown: true,
			err: `host key of "b.example:22" is unknown: offered ` + ed + f1 + "; searched kh for b.example; compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the bastion, then add host_key " + f1 + " or a known_hosts line",
		},
		{
			name: "unknown, with lines that are skipped", known: "\ufeff" + line("b.example", one) + "c.example ssh-rsa\nc.example ssh-rsa AAAA\nb.example ssh-ed25519 AAAA\n", key: one, unknown: true,
			err: `host key of "b.example:22" is unknown: offered ` + ed + f1 + `; searched kh (known_hosts line kh:1 is skipped: it begins with a byte order mark; run sed -i '1s/^\xEF\xBB\xBF//' kh; ` +
				"known_hosts line kh:2 is skipped: too few words; known_hosts line kh:4 is skipped: its key is not a valid key: short read) for b.example; compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the bastion, then add host_key " + f1 + " or a known_hosts line",
		},
		{
			name: "unknown, as /dev/null is read", key: one, unknown: true, edit: func(c *Config) { c.KnownHosts = []string{os.DevNull} },
			err: `host key of "b.example:22" is unknown: offered ` + ed + f1 + "; searched no known_hosts file for b.example; compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub on the bastion, then add host_key " + f1,
		},
		{
			name: "revoked wins", known: line("b.example", one) + line("@revoked *", one), key: one, edit: func(c *Config) { c.HostKeys = []string{f1} },
			err: `host key of "b.example:22" is revoked: ` + ed + f1 + " by kh:2",
		},
		{
			name: "revoked wins over no", known: line("@revoked *", one), key: one, edit: func(c *Config) { c.InsecureIgnoreHostKey = true },
			err: `host key of "b.example:22" is revoked: ` + ed + f1 + " by kh:1",
		},
		{
			name: "short RSA", known: line("b.example", rsa1024), key: rsa1024,
			err: `host key of "b.example:22" is refused: RSA key of 1024 bits is shorter than required_rsa_size 2048; make an Ed25519 key on the bastion with ssh-keygen -A, or a longer one; if neither can be, lower required_rsa_size`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := hostConfig(t, test.known)
			if test.edit != nil {
				test.edit(cfg)
			}
			_, err := verifyOnce(t, cfg, test.key)
			sshtest.WantError(t, err, test.err)
			if refused, ok := errors.AsType[*failure.HostKeyError](err); ok && (refused.Cause == failure.CauseHostKeyUnknown) != test.unknown {
				t.Errorf("cause is %v", refused.Cause)
			}
		})
	}
}

// TestVerifyAtRekey: what was accepted stays so, and nothing else is.
func TestVerifyAtRekey(t *testing.T) {
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	for _, insecure := range []bool{false, true} {
		cfg := hostConfig(t, "b.example "+sshtest.AuthorizedKey(one)+"\nb.example "+sshtest.AuthorizedKey(two)+"\n")
		cfg.InsecureIgnoreHostKey = insecure
		h := loadFor(t, cfg)
		if err := h.verify(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(cfg.KnownHosts[0]); err != nil {
			t.Fatal(err)
		}
		if err := h.verify(t.Context(), one); err != nil {
			t.Errorf("the same key was refused: %v", err)
		}
		sshtest.WantError(t, h.verify(t.Context(), two), `host key of "b.example:22" has changed within the connection: first ssh-ed25519 `+
			ssh.FingerprintSHA256(one)+", now ssh-ed25519 "+ssh.FingerprintSHA256(two))
		if !algorithms.SameKey(h.Accepted(), one) {
			t.Error("another key was taken over")
		}
	}
}

func TestHostKeyAlgorithms(t *testing.T) {
	ed, ec, rs := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.ECDSAKey(t)), sshtest.PublicOf(t, sshtest.RSAKey(t, 2048))
	plain := []string{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "rsa-sha2-512", "rsa-sha2-256"}
	for _, test := range []struct {
		name  string
		known string
		edit  func(*Config)
		want  []string // the first ones
	}{
		{name: "nothing known", want: plain},
		{name: "ed25519", known: "b.example " + sshtest.AuthorizedKey(ed), want: append([]string{"ssh-ed25519-cert-v01@openssh.com"}, plain...)},
		{name: "rsa", known: "b.example " + sshtest.AuthorizedKey(rs), want: []string{"rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com", "rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"}},
		{name: "ecdsa", known: "b.example " + sshtest.AuthorizedKey(ec), want: []string{"ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp256", "ssh-ed25519"}},
		{name: "two", known: "b.example " + sshtest.AuthorizedKey(rs) + "\nb.example " + sshtest.AuthorizedKey(ec), want: []string{"ecdsa-sha2-nistp256-cert-v01@openssh.com", "rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"}},
		{name: "another host's", known: "c.example " + sshtest.AuthorizedKey(rs), want: plain},
		{name: "authority", known: "@cert-authority * " + sshtest.AuthorizedKey(rs), want: []string{"ssh-ed25519-cert-v01@openssh.com"}},
		{
			name: "written", known: "b.example " + sshtest.AuthorizedKey(rs), want: []string{"rsa-sha2-256", "ssh-ed25519"},
			edit: func(c *Config) { c.HostKeyAlgorithms = []string{"ssh-ed25519", "rsa-sha2-256"} },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := hostConfig(t, test.known)
			if test.edit != nil {
				test.edit(cfg)
			}
			got := loadFor(t, cfg).Algorithms()
			if len(got) < len(test.want) || !slices.Equal(got[:len(test.want)], test.want) {
				t.Errorf("algorithms %q, want %q first", got, test.want)
			}
		})
	}
}

// TestHostKeyIsTheKnownOne: a server with several keys shows the known one.
func TestHostKeyIsTheKnownOne(t *testing.T) {
	keys := []crypto.PrivateKey{sshtest.EdKey(1), sshtest.ECDSAKey(t), sshtest.RSAKey(t, 2048)}
	server := &ssh.ServerConfig{NoClientAuth: true}
	for _, k := range keys {
		server.AddHostKey(sshtest.SignerFor(t, k))
	}
	for _, k := range keys {
		cfg := hostConfig(t, "b.example "+sshtest.AuthorizedKey(sshtest.PublicOf(t, k)))
		h := loadFor(t, cfg)
		if err := handshake(t, server, h); err != nil {
			t.Errorf("%T: %v", k, err)
		}
	}
	// Of a fingerprint the type is not known: the others are asked for in turn.
	for i, k := range keys {
		cfg := hostConfig(t, "")
		cfg.HostKeys = []string{ssh.FingerprintSHA256(sshtest.PublicOf(t, k))}
		h := loadFor(t, cfg)
		tries := 1
		err := handshake(t, server, h)
		for ; err != nil && h.Retry(); tries++ {
			err = handshake(t, server, h)
		}
		if err != nil || tries != i+1 {
			t.Errorf("%T by fingerprint: %v after %d tries", k, err, tries)
		}
	}
	// A fingerprint that no key has is given up once all were shown.
	cfg := hostConfig(t, "")
	cfg.HostKeys = []string{ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(9)))}
	h := loadFor(t, cfg)
	for tries := 0; ; tries++ {
		err := handshake(t, server, h)
		if _, ok := errors.AsType[*failure.HostKeyError](err); !ok {
			t.Fatalf("error %v", err)
		}
		if !h.Retry() {
			break
		}
		if tries > 3 {
			t.Fatal("no end of tries")
		}
	}
}

// handshake connects to a server that lets everybody in.
func handshake(t *testing.T, server *ssh.ServerConfig, h *Verifier) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _, _, _ = ssh.NewServerConn(conn, server)
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = ssh.NewClientConn(conn, h.cfg.Address, &ssh.ClientConfig{
		Config: h.cfg.CryptoConfig(), HostKeyCallback: h.Callback(t.Context()), HostKeyAlgorithms: h.Algorithms(),
	})
	_ = conn.Close()
	<-ended
	return err
}

func TestLoad(t *testing.T) {
	one := sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1)))
	dir := t.TempDir()

	t.Run("bad lines are logged", func(t *testing.T) {
		cfg := hostConfig(t, "x\nb.example "+one+"\ny\nz\nv\nw\n")
		core, logs := observer.New(zap.WarnLevel)
		h, err := Load(t.Context(), cfg, zap.New(core))
		if err != nil || len(h.known.keys) != 1 {
			t.Fatalf("%v, %+v", err, h)
		}
		var got []string
		for _, e := range logs.All() {
			got = append(got, strings.ReplaceAll(e.Message, filepath.Dir(cfg.KnownHosts[0])+"/", ""))
		}
		want := []string{
			"known_hosts line kh:1 is skipped: too few words", "known_hosts line kh:3 is skipped: too few words",
			"known_hosts line kh:4 is skipped: too few words", "known_hosts kh: 2 more lines are skipped",
		}
		if !slices.Equal(got, want) {
			t.Errorf("warnings %q", got)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		_, err := Load(t.Context(), &Config{Address: "b:22", KnownHosts: []string{dir}}, zap.NewNop())
		sshtest.WantError(t, err, `known_hosts "`+dir+`" cannot be read: is a directory`)
	})
	t.Run("absent", func(t *testing.T) {
		h := loadFor(t, &Config{Address: "b:22", KnownHosts: []string{dir + "/absent"}, HostCertificateAuthorities: []string{dir + "/absent.pub"}})
		if h.knowsAnything() {
			t.Error("knows something")
		}
	})
	t.Run("authorities of a file", func(t *testing.T) {
		path := filepath.Join(dir, "ca.pub")
		sshtest.Write(t, path, "# ours\n"+one+" ca\n\n"+sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(2)))+"\n")
		h := loadFor(t, &Config{Address: "b:22", HostCertificateAuthorities: []string{path, sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(3)))}})
		if got := sources(h.known.authorities); got != path+":2 "+path+":4 host_certificate_authority" {
			t.Errorf("authorities %q", got)
		}
	})
}

func TestParseHostKeyErrors(t *testing.T) {
	cert := sshtest.CertifyKey(t, ssh.HostCert, sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.SignerFor(t, sshtest.EdKey(2)), nil)
	for in, want := range map[string]string{
		"SHA256:abc":                        `host_key "SHA256:abc" is not a whole SHA256 fingerprint; copy it from ssh-keygen -lf`,
		"SHA256:" + strings.Repeat("!", 43): `host_key "SHA256:` + strings.Repeat("!", 43) + `" is not a whole SHA256 fingerprint; copy it from ssh-keygen -lf`,
		"MD5:aa:bb":                         `host_key "MD5:aa:bb" is not of the form <type> <base64>; write SHA256:<fingerprint> or <type> <base64>`,
		"ssh-ed25519 %":                     `host_key "ssh-ed25519 %" is not valid base64; copy the whole line; write SHA256:<fingerprint> or <type> <base64>`,
		"ssh-ed25519 AAAA":                  `host_key "ssh-ed25519 AAAA" is not a valid key: short read; write SHA256:<fingerprint> or <type> <base64>`,
		sshtest.AuthorizedKey(cert):         `host_key <the text of a certificate (` + strconv.Itoa(len(sshtest.AuthorizedKey(cert))) + ` bytes)> is a certificate; write its authority's key as host_certificate_authority`,
		strings.Replace(sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1))), "ssh-ed25519", "ssh-rsa", 1): `host_key "` + strings.Replace(sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1))), "ssh-ed25519", "ssh-rsa", 1) +
			`" says "ssh-rsa" but holds a key of type "ssh-ed25519"; write SHA256:<fingerprint> or <type> <base64>`,
	} {
		_, _, err := parseHostKey(in)
		sshtest.WantError(t, err, want)
	}
}
