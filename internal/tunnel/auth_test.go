package tunnel

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"
)

// authServer is an SSH server that lets in, or does not.
type authServer struct{ cfg *ssh.ServerConfig }

func newAuthServer(t testing.TB, edit func(*ssh.ServerConfig)) *authServer {
	t.Helper()
	cfg := &ssh.ServerConfig{}
	edit(cfg)
	return &authServer{cfg}
}

// connect connects and disconnects. It returns the handshake's error as the
// tunnel's connect reports it.
func (s *authServer) connect(t testing.TB, a *authenticator, h *hostKeys) error {
	t.Helper()
	defer a.close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer l.Close()
	wg.Go(func() { // returns when the connection has ended
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		sc, channels, requests, err := ssh.NewServerConn(conn, s.cfg)
		if err == nil {
			drain(&wg, channels, requests)
			_ = sc.Wait()
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cc := &ssh.ClientConfig{Config: a.cfg.cryptoConfig(), HostKeyCallback: h.verifier(t.Context()), HostKeyAlgorithms: h.algorithms()}
	a.apply(cc)
	sc, channels, requests, err := ssh.NewClientConn(conn, a.cfg.Address, cc)
	if err != nil {
		if refused, ok := errors.AsType[*HostKeyError](err); ok {
			return refused
		}
		return a.explain(err)
	}
	drain(&wg, channels, requests)
	return sc.Close()
}

// drain serves a connection's channels, which end with it.
func drain(wg *sync.WaitGroup, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	wg.Go(func() { ssh.DiscardRequests(requests) })
	wg.Go(func() {
		for c := range channels {
			_ = c.Reject(ssh.Prohibited, "")
		}
	})
}

// guard is what an authServer demands, and what it was shown. It is the
// connection's until connect returns.
type guard struct {
	keys     []ssh.PublicKey // accepted; a certificate counts by its key
	password string
	prompts  []string // of one keyboard-interactive round each; "" has none
	then     string   // the method that is demanded besides: a partial success
	maxTries int
	algos    []string

	offered   []string // SHA256:…, "certificate " in front
	passwords int
	answers   []string
}

func (g *guard) server(t testing.TB) *authServer {
	return newAuthServer(t, func(c *ssh.ServerConfig) {
		c.AddHostKey(signerFor(t, edKey(200)))
		c.MaxAuthTries = g.maxTries
		c.PublicKeyAuthAlgorithms = g.algos
		callbacks := ssh.ServerAuthCallbacks{}
		if g.keys != nil {
			callbacks.PublicKeyCallback = g.publicKey
		}
		if g.password != "" {
			callbacks.PasswordCallback = g.passwordMethod
		}
		if g.prompts != nil {
			callbacks.KeyboardInteractiveCallback = g.dialogue
		}
		switch {
		case g.then == "":
			c.PublicKeyCallback, c.PasswordCallback, c.KeyboardInteractiveCallback = callbacks.PublicKeyCallback, callbacks.PasswordCallback, callbacks.KeyboardInteractiveCallback
			return
		case strings.HasPrefix(g.then, "password "):
			c.PasswordCallback = func(m ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
				if _, err := g.passwordMethod(m, p); err != nil {
					return nil, err
				}
				return nil, &ssh.PartialSuccessError{Next: only(callbacks, strings.TrimPrefix(g.then, "password "))}
			}
			return
		}
		c.PublicKeyCallback = func(m ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if _, err := g.publicKey(m, key); err != nil {
				return nil, err
			}
			return nil, &ssh.PartialSuccessError{Next: only(callbacks, g.then)}
		}
	})
}

func only(c ssh.ServerAuthCallbacks, method string) ssh.ServerAuthCallbacks {
	switch method {
	case "publickey":
		return ssh.ServerAuthCallbacks{PublicKeyCallback: c.PublicKeyCallback}
	case "password":
		return ssh.ServerAuthCallbacks{PasswordCallback: c.PasswordCallback}
	default:
		return ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: c.KeyboardInteractiveCallback}
	}
}

var errNo = errors.New("no")

func (g *guard) publicKey(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	name := ssh.FingerprintSHA256(plainKey(key))
	if _, ok := key.(*ssh.Certificate); ok {
		name = "certificate " + name
	}
	if !slices.Contains(g.offered, name) {
		g.offered = append(g.offered, name)
	}
	if slices.ContainsFunc(g.keys, func(k ssh.PublicKey) bool { return sameKey(k, plainKey(key)) }) {
		return nil, nil
	}
	return nil, errNo
}

func (g *guard) passwordMethod(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
	g.passwords++
	if string(p) == g.password {
		return nil, nil
	}
	return nil, errNo
}

func (g *guard) dialogue(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
	for _, prompt := range g.prompts {
		var questions []string
		if prompt != "" {
			questions = strings.Split(prompt, "|")
		}
		answers, err := ask("", "", questions, make([]bool, len(questions)))
		if err != nil {
			return nil, err
		}
		g.answers = append(g.answers, answers...)
	}
	if slices.Equal(g.answers, []string{"right"}) {
		return nil, nil
	}
	return nil, errNo
}

// authFor returns an authenticator for cfg and what verifies g's host key.
func authFor(t testing.TB, cfg *Config) (*authenticator, *hostKeys) {
	t.Helper()
	cfg.Address, cfg.User = "b.example:22", "deploy"
	cfg.HostKeys = []string{authorized(publicOf(t, edKey(200)))}
	return newAuthenticator(cfg, zap.NewNop()), loadFor(t, cfg)
}

func TestAuthenticate(t *testing.T) {
	dir := t.TempDir()
	one, two := publicOf(t, edKey(1)), publicOf(t, edKey(2))
	rsaPrivate := rsaKey(t, 2048)
	f1, f2, fRSA := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(two), ssh.FingerprintSHA256(publicOf(t, rsaPrivate))
	writeKey(t, dir+"/one", edKey(1), "")
	writeKey(t, dir+"/two", edKey(2), "secret")
	writeKey(t, dir+"/rsa", rsaPrivate, "")
	for i := range 7 {
		writeKey(t, dir+"/many"+string(rune('0'+i)), edKey(byte(10+i)), "")
	}
	files := func(names ...string) (list []IdentityFile) {
		for _, n := range names {
			list = append(list, IdentityFile{Path: dir + "/" + n})
		}
		return list
	}
	many := files("many0", "many1", "many2", "many3", "many4", "many5", "many6")
	var defaults []IdentityFile
	for _, f := range many {
		defaults = append(defaults, IdentityFile{Path: f.Path, Default: true})
	}

	for _, test := range []struct {
		name      string
		cfg       Config
		guard     guard
		used      string
		err       string
		offered   []string
		passwords int
		answers   []string
	}{
		{name: "key", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}}, used: "publickey " + f1 + " (one)"},
		{
			name: "in the written order", cfg: Config{IdentityFiles: []IdentityFile{{Path: dir + "/two", Passphrase: "secret"}, {Path: dir + "/one"}}},
			guard: guard{keys: []ssh.PublicKey{one}}, used: "publickey " + f1 + " (one)", offered: []string{f2, f1},
		},
		{name: "RSA", cfg: Config{IdentityFiles: files("rsa")}, guard: guard{keys: []ssh.PublicKey{publicOf(t, rsaPrivate)}, algos: []string{"rsa-sha2-256", "ssh-rsa"}}, used: "publickey " + fRSA + " (rsa)"},
		{name: "password", cfg: Config{Password: "right"}, guard: guard{password: "right", keys: []ssh.PublicKey{one}}, used: "password", passwords: 1},
		{name: "password dialogue", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: "}}, used: "keyboard-interactive password", answers: []string{"right"}},
		{name: "dialogue with messages", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"", "Passwort: ", ""}}, used: "keyboard-interactive password", answers: []string{"right"}},
		{
			name: "key, then password", cfg: Config{IdentityFiles: files("one"), Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, password: "right", then: "password"},
			used: "publickey " + f1 + " (one) + password", passwords: 1,
		},
		{
			name: "key, then dialogue", cfg: Config{IdentityFiles: files("one"), Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, prompts: []string{"deploy's password:"}, then: "keyboard-interactive"},
			used: "publickey " + f1 + " (one) + keyboard-interactive password", answers: []string{"right"},
		},
		{
			name: "password, then key", cfg: Config{IdentityFiles: files("one"), Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, password: "right", then: "password publickey"},
			used: "password + publickey " + f1 + " (one)", passwords: 1,
		},
		{
			name: "password, then the same in a dialogue", cfg: Config{Password: "right"}, guard: guard{password: "right", prompts: []string{"Password:"}, then: "password keyboard-interactive"},
			used: "password + keyboard-interactive password", passwords: 1, answers: []string{"right"},
		},
		{
			name: "two keys", cfg: Config{IdentityFiles: []IdentityFile{{Path: dir + "/one"}, {Path: dir + "/two", Passphrase: "secret"}}}, guard: guard{keys: []ssh.PublicKey{one, two}, then: "publickey"},
			used: "publickey " + f1 + " (one) + publickey " + f2 + " (two)",
		},
		{
			name: "refused keys count before the password", cfg: Config{IdentityFiles: many[:5], Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, password: "right", maxTries: 6},
			used: "password", passwords: 1,
		},

		{
			name: "refused key", cfg: Config{IdentityFiles: files("one", "absent", "two")}, guard: guard{keys: []ssh.PublicKey{two}},
			err: `authentication as "deploy" failed; refused: publickey ` + f1 + ` (one); not offered: identity_file "absent" does not exist, ` +
				`identity_file "two" is encrypted and has no passphrase; the bastion takes publickey; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file`,
			offered: []string{f1},
		},
		{
			name: "wrong passphrase", cfg: Config{IdentityFiles: []IdentityFile{{Path: dir + "/two", Passphrase: "wrong"}}}, guard: guard{keys: []ssh.PublicKey{two}},
			err: `authentication as "deploy" failed; not offered: identity_file "two" cannot be decrypted: its passphrase is wrong; the bastion takes publickey; add an identity_file that user "` + processUser() + `" can read`,
		},
		{
			name: "wrong password is sent once", cfg: Config{Password: "wrong"}, guard: guard{password: "right", prompts: []string{"Password:"}}, passwords: 1,
			err: `authentication as "deploy" failed; refused: password; the bastion takes password, keyboard-interactive; check user and password`,
		},
		{
			name: "wrong password in a dialogue", cfg: Config{Password: "wrong"}, guard: guard{prompts: []string{"Password:", "Password:"}}, answers: []string{"wrong"},
			err: `authentication as "deploy" failed; refused: keyboard-interactive password; the bastion takes keyboard-interactive; check user and password`,
		},
		{
			name: "no password", cfg: Config{IdentityFiles: files("one")}, guard: guard{password: "right"},
			err: `authentication as "deploy" failed; the bastion takes password; add password`,
		},
		{
			name: "no key", cfg: Config{Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}},
			err: `authentication as "deploy" failed; the bastion takes publickey; add an identity_file that user "` + processUser() + `" can read`,
		},
		{
			name: "key, then a password that is not there", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}, password: "right", then: "password"},
			err: `authentication as "deploy" failed; accepted as a part: publickey ` + f1 + ` (one); the bastion takes password; add password`,
		},
		{
			name: "one-time code", cfg: Config{IdentityFiles: files("one"), Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, prompts: []string{"Verification code: "}, then: "keyboard-interactive"},
			err: `authentication as "deploy" failed; accepted as a part: publickey ` + f1 + ` (one); not offered: keyboard-interactive password: asked "Verification code:"; ` +
				`the bastion takes keyboard-interactive; a password does not answer "Verification code:": let this user in without it`,
		},
		{
			name: "password and code in one round", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: |Code: "}},
			err: `authentication as "deploy" failed; not offered: keyboard-interactive password: asked "Password:  Code:"; ` +
				`the bastion takes keyboard-interactive; a password does not answer "Password:  Code:": let this user in without it`,
		},
		{
			name: "password, then a code", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: ", "One-time password: "}}, answers: []string{"right"},
			err: `authentication as "deploy" failed; not offered: keyboard-interactive password: asked "One-time password:"; ` +
				`the bastion takes keyboard-interactive; a password does not answer "One-time password:": let this user in without it`,
		},
		{
			name: "too many keys", cfg: Config{IdentityFiles: many}, guard: guard{keys: []ssh.PublicKey{one}, maxTries: 2},
			err: `authentication as "deploy" failed; refused: publickey ` + ssh.FingerprintSHA256(publicOf(t, edKey(10))) + ` (many0), publickey ` + ssh.FingerprintSHA256(publicOf(t, edKey(11))) +
				` (many1); the bastion ended the connection; the bastion takes publickey; name the right key with identity_file, so that no other is tried first`,
		},
		{
			name: "unnamed keys are three at most", cfg: Config{IdentityFiles: defaults}, guard: guard{keys: []ssh.PublicKey{one}, maxTries: 4},
			offered: []string{ssh.FingerprintSHA256(publicOf(t, edKey(10))), ssh.FingerprintSHA256(publicOf(t, edKey(11))), ssh.FingerprintSHA256(publicOf(t, edKey(12)))},
			err: `authentication as "deploy" failed; refused: publickey ` + ssh.FingerprintSHA256(publicOf(t, edKey(10))) + ` (many0), publickey ` + ssh.FingerprintSHA256(publicOf(t, edKey(11))) +
				` (many1), publickey ` + ssh.FingerprintSHA256(publicOf(t, edKey(12))) + ` (many2); not offered: 4 more keys, since at most 3 are offered that no identity_file names; ` +
				`the bastion takes publickey; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file`,
		},
		{
			name: "SHA-1 only", cfg: Config{IdentityFiles: files("rsa", "one")}, guard: guard{keys: []ssh.PublicKey{publicOf(t, rsaPrivate)}, algos: []string{"ssh-rsa", "ssh-ed25519"}}, offered: []string{f1},
			err: `authentication as "deploy" failed; refused: publickey ` + f1 + ` (one); not offered: publickey ` + fRSA + ` (rsa): the bastion takes none of its signature algorithms; ` +
				`the bastion takes publickey; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file; ` +
				`a bastion that takes RSA keys with SHA-1 alone, which is insecure, needs ssh-rsa in pubkey_accepted_algorithms`,
		},
		{
			name: "not among the accepted algorithms", cfg: Config{IdentityFiles: files("one", "rsa"), PubkeyAcceptedAlgorithms: []string{"rsa-sha2-512"}}, guard: guard{keys: []ssh.PublicKey{one}}, offered: []string{fRSA},
			err: `authentication as "deploy" failed; refused: publickey ` + fRSA + ` (rsa); not offered: publickey ` + f1 + ` (one): its algorithm is not among pubkey_accepted_algorithms; ` +
				`the bastion takes publickey; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file; ` +
				`a bastion that takes RSA keys with SHA-1 alone, which is insecure, needs ssh-rsa in pubkey_accepted_algorithms`,
		},
		{
			name: "unresolved password", cfg: Config{Password: "{x}", Resolve: func(string) (string, error) { return "", nil }}, guard: guard{password: "right"},
			err: `authentication as "deploy" failed; not offered: password is empty; check what its placeholder stands for; the bastion takes password; give password a value`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := &test.guard
			a, h := authFor(t, &test.cfg)
			err := g.server(t).connect(t, a, h)
			if refused, ok := errors.AsType[*AuthError](err); ok {
				refused.Message = strings.ReplaceAll(refused.Message, dir+"/", "")
			} else if err != nil {
				t.Errorf("error of type %T", err)
			}
			wantError(t, err, test.err)
			if used := strings.ReplaceAll(a.used(), dir+"/", ""); err == nil && used != test.used {
				t.Errorf("used %q, want %q", used, test.used)
			}
			if test.offered != nil && !slices.Equal(g.offered, test.offered) {
				t.Errorf("offered %q, want %q", g.offered, test.offered)
			}
			if g.passwords != test.passwords || !slices.Equal(g.answers, test.answers) {
				t.Errorf("%d passwords, answers %q", g.passwords, g.answers)
			}
		})
	}
}

// TestCertificates: certificates go before their bare keys, and those that are
// no use are passed over.
func TestCertificates(t *testing.T) {
	one := publicOf(t, edKey(1))
	ca := signerFor(t, edKey(50))
	f1 := ssh.FingerprintSHA256(one)
	good := certify(t, ssh.UserCert, one, ca, nil)
	second := certify(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.KeyId = "second" })
	expired := certify(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1, 2 })
	host := certify(t, ssh.HostCert, one, ca, nil)
	foreign := certify(t, ssh.UserCert, publicOf(t, edKey(3)), ca, nil)
	for _, test := range []struct {
		name   string
		beside *ssh.Certificate
		files  []*ssh.Certificate
		isDef  bool
		want   []string
		why    []string
	}{
		{name: "none", want: []string{"publickey " + f1 + " (id)"}},
		{name: "beside", beside: good, want: []string{`publickey certificate "test" ` + f1 + " (id-cert.pub)", "publickey " + f1 + " (id)"}},
		{name: "beside a default file", beside: good, isDef: true, want: []string{`publickey certificate "test" ` + f1 + " (id-cert.pub)", "publickey " + f1 + " (id)"}},
		{
			name: "both", beside: good, files: []*ssh.Certificate{second},
			want: []string{`publickey certificate "test" ` + f1 + " (id-cert.pub)", `publickey certificate "second" ` + f1 + " (cert0)", "publickey " + f1 + " (id)"},
		},
		{name: "the same twice", beside: good, files: []*ssh.Certificate{good}, want: []string{`publickey certificate "test" ` + f1 + " (id-cert.pub)", "publickey " + f1 + " (id)"}},
		{name: "written with a default file", files: []*ssh.Certificate{second}, isDef: true, want: []string{`publickey certificate "second" ` + f1 + " (cert0)"}},
		{name: "expired", beside: expired, want: []string{"publickey " + f1 + " (id)"}, why: []string{`certificate "test" ` + f1 + " (id-cert.pub) expired on 1970-01-01T00:00:02Z"}},
		{name: "host", beside: host, want: []string{"publickey " + f1 + " (id)"}, why: []string{`certificate beside the identity_file "id-cert.pub" is not a user certificate`}},
		{name: "foreign", beside: foreign, want: []string{"publickey " + f1 + " (id)"}, why: []string{`certificate "id-cert.pub" is for another key than the file beside it`}},
		{
			name: "foreign file", files: []*ssh.Certificate{foreign}, want: []string{"publickey " + f1 + " (id)"},
			why: []string{`certificate_file "cert0" has its private key in no identity_file and not in the agent`},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			writeKey(t, dir+"/id", edKey(1), "")
			cfg := &Config{IdentityFiles: []IdentityFile{{Path: dir + "/id", Default: test.isDef}}}
			if test.beside != nil {
				write(t, dir+"/id-cert.pub", authorized(test.beside))
			}
			for i, c := range test.files {
				path := filepath.Join(dir, "cert"+string(rune('0'+i)))
				write(t, path, authorized(c))
				cfg.CertificateFiles = append(cfg.CertificateFiles, path)
			}
			c := &collector{cfg: cfg, log: zap.NewNop()}
			c.collect()
			var got []string
			for _, o := range c.offers {
				got = append(got, strings.ReplaceAll(o.what, dir+"/", ""))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("offers\n got %q\nwant %q", got, test.want)
			}
			for i := range c.skipped {
				c.skipped[i] = strings.ReplaceAll(c.skipped[i], dir+"/", "")
			}
			if !slices.Equal(c.skipped, test.why) {
				t.Errorf("skipped\n got %q\nwant %q", c.skipped, test.why)
			}
			g := &guard{keys: []ssh.PublicKey{one}}
			a, h := authFor(t, cfg)
			if err := g.server(t).connect(t, a, h); err != nil {
				t.Error(err)
			}
			if used := strings.ReplaceAll(a.used(), dir+"/", ""); used != test.want[0] {
				t.Errorf("used %q", used)
			}
		})
	}
}

// TestKeysAreReadAnew: a key that was changed serves the next connect.
func TestKeysAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	cfg := &Config{IdentityFiles: []IdentityFile{{Path: dir + "/id"}}}
	for seed := byte(1); seed < 4; seed++ {
		writeKey(t, dir+"/id", edKey(seed), "")
		g := &guard{keys: []ssh.PublicKey{publicOf(t, edKey(seed))}}
		a, h := authFor(t, cfg)
		if err := g.server(t).connect(t, a, h); err != nil {
			t.Error(err)
		}
	}
}

// TestLossIsNotRefusal: a connection that breaks during authentication says
// nothing about the keys.
func TestLossIsNotRefusal(t *testing.T) {
	dir := t.TempDir()
	var files []IdentityFile
	for i := range 5 {
		path := dir + "/id" + string(rune('0'+i))
		writeKey(t, path, edKey(byte(10+i)), "")
		files = append(files, IdentityFile{Path: path})
	}
	a, h := authFor(t, &Config{IdentityFiles: files, Password: "x"})
	client, server := tcpPair(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // returns when the client is gone
		cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if sameKey(key, publicOf(t, edKey(12))) {
				_ = server.Close()
			}
			return nil, errNo
		}}
		cfg.AddHostKey(signerFor(t, edKey(200)))
		_, _, _, _ = ssh.NewServerConn(server, cfg)
		_ = server.Close()
	})
	cc := &ssh.ClientConfig{HostKeyCallback: h.verifier(t.Context()), HostKeyAlgorithms: h.algorithms()}
	a.apply(cc)
	_, _, _, handshakeErr := ssh.NewClientConn(client, "b.example:22", cc)
	if handshakeErr == nil {
		t.Fatal("let in")
	}
	if err := a.explain(handshakeErr); err != handshakeErr { //nolint:errorlint // unchanged is what is meant
		t.Errorf("explained as %v", err)
	}
}

func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

func TestAsksPassword(t *testing.T) {
	for prompt, want := range map[string]bool{
		"Password: ":                            true,
		"(deploy@b.example) Password:":          true,
		"deploy@b.example's password: ":         true,
		"Passwort: ":                            true,
		"Mot de passe : ":                       true,
		"LDAP Password:":                        true,
		"Verification code: ":                   false,
		"One-time password (OATH) for deploy: ": false,
		"Password & verification code: ":        false,
		"Enter PASSCODE: ":                      false,
		"OTP Password:":                         false,
		"New password: ":                        false,
		"Retype new password: ":                 false,
		"Password + Token:":                     false,
		"PIN: ":                                 false,
		"Duo two-factor login":                  false,
		"":                                      false,
	} {
		if asksPassword(prompt) != want {
			t.Errorf("%q: %v", prompt, !want)
		}
	}
}

func TestEchoedPromptIsNotAnswered(t *testing.T) {
	a := newAuthenticator(&Config{}, zap.NewNop())
	if answers, err := a.answer("secret", []string{"Password:"}, []bool{true}); err == nil || answers != nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("answered %q, %v", answers, err)
	}
}
