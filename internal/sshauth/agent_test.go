package sshauth

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestAgent(t *testing.T) {
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	rsaPrivate := sshtest.RSAKey(t, 2048)
	f1, f2, fRSA := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(two), ssh.FingerprintSHA256(sshtest.PublicOf(t, rsaPrivate))
	ca := sshtest.SignerFor(t, sshtest.EdKey(50))
	cert := sshtest.CertifyKey(t, ssh.UserCert, two, ca, func(c *ssh.Certificate) { c.KeyId = "held" })
	expired := sshtest.CertifyKey(t, ssh.UserCert, two, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1, 2 })
	dir := t.TempDir()
	sshtest.WriteKey(t, dir+"/one", sshtest.EdKey(1), "locked")
	sshtest.WriteKey(t, dir+"/other", sshtest.EdKey(9), "")
	sshtest.WriteKey(t, dir+"/two", sshtest.EdKey(2), "")
	sshtest.Write(t, dir+"/cert", sshtest.AuthorizedKey(sshtest.CertifyKey(t, ssh.UserCert, two, ca, func(c *ssh.Certificate) { c.KeyId = "file" })))

	added := func(key crypto.PrivateKey, comment string) agent.AddedKey {
		if k, ok := key.(ed25519.PrivateKey); ok {
			key = &k
		}
		return agent.AddedKey{PrivateKey: key, Comment: comment}
	}
	withCert := func(c *ssh.Certificate) agent.AddedKey {
		k := sshtest.EdKey(2)
		return agent.AddedKey{PrivateKey: &k, Certificate: c, Comment: "c"}
	}
	keyOne, keyTwo := added(sshtest.EdKey(1), "me@home"), added(sshtest.EdKey(2), "")
	for _, test := range []struct {
		name  string
		keys  []agent.AddedKey
		cfg   Config
		want  []string
		skips []string
	}{
		{name: "all of it", keys: []agent.AddedKey{keyOne, keyTwo}, want: []string{"publickey " + f1 + ` (agent, "me@home")`, "publickey " + f2 + " (agent)"}},
		{
			name: "before keys that are in files only", keys: []agent.AddedKey{keyOne}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/other"}}},
			want: []string{"publickey " + f1 + ` (agent, "me@home")`, "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(9))) + " (/other)"},
		},
		{
			name: "named ones first", keys: []agent.AddedKey{keyOne, keyTwo}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/other"}, {Path: "/two.pub"}}},
			want: []string{"publickey " + f2 + " (/two.pub, signed by the agent)", "publickey " + f1 + ` (agent, "me@home")`, "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(9))) + " (/other)"},
		},
		{
			name: "those of default files first", keys: []agent.AddedKey{keyOne, keyTwo}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/other", Default: true}, {Path: "/two", Default: true}}},
			want: []string{"publickey " + f2 + " (/two)", "publickey " + f1 + ` (agent, "me@home")`, "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(9))) + " (/other)"},
		},
		{
			name: "a .pub picks one", keys: []agent.AddedKey{keyOne, keyTwo}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/two.pub"}}, IdentitiesOnly: true},
			want: []string{"publickey " + f2 + " (/two.pub, signed by the agent)"},
		},
		{
			name: "an encrypted file picks one", keys: []agent.AddedKey{keyOne, keyTwo}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/one"}}, IdentitiesOnly: true},
			want: []string{"publickey " + f1 + " (/one, signed by the agent)"},
		},
		{
			name: "a .pub that it does not hold", keys: []agent.AddedKey{keyOne}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/two.pub"}}, IdentitiesOnly: true},
			skips: []string{`identity_file "/two.pub" has no usable private half, and the agent does not hold it`},
		},
		{name: "identities only", keys: []agent.AddedKey{keyOne, keyTwo}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/other"}}, IdentitiesOnly: true}, want: []string{"publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(9))) + " (/other)"}},
		{
			name: "certificate before key", keys: []agent.AddedKey{keyTwo, withCert(cert)},
			want: []string{`publickey certificate "held" ` + f2 + ` (agent, "c")`, "publickey " + f2 + " (agent)"},
		},
		{
			name: "certificate of a named key", keys: []agent.AddedKey{keyOne, keyTwo, withCert(cert)}, cfg: Config{IdentityFiles: []IdentityFile{{Path: "/two.pub"}}, IdentitiesOnly: true},
			want: []string{`publickey certificate "held" ` + f2 + ` (agent, "c")`, "publickey " + f2 + " (/two.pub, signed by the agent)"},
		},
		{
			name: "certificate file for its key", keys: []agent.AddedKey{keyOne, keyTwo}, cfg: Config{CertificateFiles: []string{"/cert"}, IdentitiesOnly: true},
			want: []string{`publickey certificate "file" ` + f2 + " (/cert)"},
		},
		{
			name: "expired certificate", keys: []agent.AddedKey{keyTwo, withCert(expired)}, want: []string{"publickey " + f2 + " (agent)"},
			skips: []string{`certificate "test" ` + f2 + ` (agent, "c") expired on 1970-01-01T00:00:02Z`},
		},
		{
			name: "six at most", keys: []agent.AddedKey{keyOne, keyTwo, added(sshtest.EdKey(3), ""), added(sshtest.EdKey(4), ""), added(sshtest.EdKey(5), ""), added(sshtest.EdKey(6), ""), added(sshtest.EdKey(7), "")},
			skips: []string{"1 others, since sshd takes 6 attempts by default (MaxAuthTries); the next login begins with these"},
			want: []string{
				"publickey " + f1 + ` (agent, "me@home")`, "publickey " + f2 + " (agent)", "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(3))) + " (agent)", "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(4))) + " (agent)",
				"publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(5))) + " (agent)", "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(6))) + " (agent)",
			},
		},
		{name: "RSA", keys: []agent.AddedKey{added(rsaPrivate, "")}, want: []string{"publickey " + fRSA + " (agent)"}},
		{name: "empty", skips: []string{`agent at "AGENT" has no key, or is locked (see ssh-add -l and ssh-add -X)`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := test.cfg
			cfg.IdentityAgent = sshtest.StartAgent(t, test.keys...)
			clean := strings.NewReplacer(dir, "", cfg.IdentityAgent, "AGENT")
			cfg.IdentityFiles, cfg.CertificateFiles = slices.Clone(cfg.IdentityFiles), slices.Clone(cfg.CertificateFiles)
			for i := range cfg.IdentityFiles {
				cfg.IdentityFiles[i].Path = dir + cfg.IdentityFiles[i].Path
			}
			for i := range cfg.CertificateFiles {
				cfg.CertificateFiles[i] = dir + cfg.CertificateFiles[i]
			}
			link := newAgentLink(cfg.IdentityAgent)
			defer link.close()
			c := &collector{cfg: &cfg, log: zap.NewNop(), link: link}
			c.collect()
			var got, skips []string
			for _, o := range c.offers {
				got = append(got, clean.Replace(o.what))
			}
			for _, s := range c.skipped {
				skips = append(skips, clean.Replace(s))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("offers\n got %q\nwant %q", got, test.want)
			}
			if !slices.Equal(skips, test.skips) {
				t.Errorf("skipped\n got %q\nwant %q", skips, test.skips)
			}
			if len(test.want) == 0 {
				return
			}
			// What is offered first also signs.
			g := &guard{keys: []ssh.PublicKey{algorithms.PlainKey(c.offers[0].signer.PublicKey())}, algos: []string{"rsa-sha2-256", "ssh-ed25519"}}
			a := authFor(t, &cfg)
			if err := g.server(t).connect(t, a); err != nil {
				t.Error(err)
			}
			if used := clean.Replace(a.Used()); used != test.want[0] {
				t.Errorf("used %q", used)
			}
		})
	}
}

// TestAgentGone: the keys that are left serve.
func TestAgentGone(t *testing.T) {
	dir := t.TempDir()
	sshtest.WriteKey(t, dir+"/id", sshtest.EdKey(1), "")
	cfg := &Config{IdentityFiles: []IdentityFile{{Path: dir + "/id"}}, IdentityAgent: dir + "/none"}
	g := &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(1))}}
	a := authFor(t, cfg)
	if err := g.server(t).connect(t, a); err != nil {
		t.Error(err)
	}
	cfg = &Config{IdentityAgent: dir + "/none"}
	a = authFor(t, cfg)
	sshtest.WantError(t, g.server(t).connect(t, a), `authentication as "deploy" failed; not offered: agent at "`+dir+`/none": no such file or directory; the bastion takes publickey; start an agent there, or name the socket of one with identity_agent; or add identity_file`)
}

// TestHungAgent: close frees a connect from an agent that never answers, be it
// the list of keys or a signature, and does not count as a refusal.
func TestHungAgent(t *testing.T) {
	for _, signs := range []bool{false, true} {
		socket := filepath.Join(t.TempDir(), "agent")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		asked := make(chan struct{}, 8)
		done := make(chan struct{})
		go func() { // returns when the connection is closed
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if signs {
				key := sshtest.EdKey(1)
				ring := agent.NewKeyring()
				if err := ring.Add(agent.AddedKey{PrivateKey: &key}); err != nil {
					t.Error(err)
				}
				_ = agent.ServeAgent(hangingAgent{ring.(agent.ExtendedAgent), asked, t.Context().Done()}, conn)
				return
			}
			buf := make([]byte, 100)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
				asked <- struct{}{}
			}
		}()
		g := &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(1))}}
		a := authFor(t, &Config{IdentityAgent: socket, IdentityFiles: nil, Password: "x"})
		go func() {
			<-asked
			a.Close()
			a.Close()
		}()
		err = g.server(t).connect(t, a)
		if _, refused := errors.AsType[*failure.AuthError](err); refused || err == nil || !strings.Contains(err.Error(), `waiting for the agent at "`+socket+`"`) {
			t.Errorf("error %v", err)
		}
		_ = l.Close()
		if !signs {
			<-done
		}
	}
}

// hangingAgent lists its keys, but never signs.
type hangingAgent struct {
	agent.ExtendedAgent
	asked chan<- struct{}
	end   <-chan struct{}
}

func (h hangingAgent) SignWithFlags(ssh.PublicKey, []byte, agent.SignatureFlags) (*ssh.Signature, error) {
	h.asked <- struct{}{}
	<-h.end
	return nil, errNo
}

// TestAgentThatCannotSign: the key after the one that the agent will not use,
// as its user said no, is still offered.
func TestAgentThatCannotSign(t *testing.T) {
	dir := t.TempDir()
	sshtest.WriteKey(t, dir+"/one", sshtest.EdKey(1), "locked")
	sshtest.WriteKey(t, dir+"/two", sshtest.EdKey(2), "")
	key := sshtest.EdKey(1)
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: &key}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/agent")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // returns when the listener is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(refusingAgent{ring.(agent.ExtendedAgent)}, conn)
			_ = conn.Close()
		}
	}()
	f1 := ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(1)))
	cfg := &Config{IdentityFiles: []IdentityFile{{Path: dir + "/one"}, {Path: dir + "/two"}}, IdentitiesOnly: true, IdentityAgent: dir + "/agent"}
	g := &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))}}
	a := authFor(t, cfg)
	if err := g.server(t).connect(t, a); err != nil {
		t.Error(err)
	}
	if want := "publickey " + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(2))) + " (" + dir + "/two)"; a.Used() != want {
		t.Errorf("used %q, want %q", a.Used(), want)
	}
	cfg.IdentityFiles = cfg.IdentityFiles[:1]
	a = authFor(t, cfg)
	sshtest.WantError(t, g.server(t).connect(t, a), `authentication as "deploy" failed; not offered: publickey `+f1+" ("+dir+
		`/one, signed by the agent): signing: agent at "`+dir+`/agent": failed to sign challenge; the bastion takes publickey; `+fixAgentSigns+`; or add identity_file`)
}

type refusingAgent struct{ agent.ExtendedAgent }

func (refusingAgent) SignWithFlags(ssh.PublicKey, []byte, agent.SignatureFlags) (*ssh.Signature, error) {
	return nil, errNo
}

func TestAgentPath(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	for in, want := range map[string]string{"": "", "none": "", "SSH_AUTH_SOCK": "/run/agent", "/x": "/x"} {
		if got := (&Config{IdentityAgent: in}).AgentPath(); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
