package sshauth

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, two := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.PublicOf(t, sshtest.EdKey(2))
	rsaPrivate := sshtest.RSAKey(t, 2048)
	f1, f2, fRSA := ssh.FingerprintSHA256(one), ssh.FingerprintSHA256(two), ssh.FingerprintSHA256(sshtest.PublicOf(t, rsaPrivate))
	sshtest.WriteKey(t, dir+"/one", sshtest.EdKey(1), "")
	sshtest.WriteKey(t, dir+"/two", sshtest.EdKey(2), "secret")
	sshtest.WriteKey(t, dir+"/rsa", rsaPrivate, "")
	for i := range 7 {
		sshtest.WriteKey(t, dir+"/many"+string(rune('0'+i)), sshtest.EdKey(byte(10+i)), "")
	}
	files := func(names ...string) (list []IdentityFile) {
		for _, n := range names {
			list = append(list, IdentityFile{Path: dir + "/" + n})
		}
		return list
	}
	fMany := func(seed byte) string { return ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(seed))) }
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
		cause     failure.Cause // of err; not compared if empty
		offered   []string
		passwords int
		answers   []string
	}{
		{name: "key", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}}, used: "publickey " + f1 + " (one)"},
		{
			name: "in the written order", cfg: Config{IdentityFiles: []IdentityFile{{Path: dir + "/two", Passphrase: "secret"}, {Path: dir + "/one"}}},
			guard: guard{keys: []ssh.PublicKey{one}}, used: "publickey " + f1 + " (one)", offered: []string{f2, f1},
		},
		{name: "RSA", cfg: Config{IdentityFiles: files("rsa")}, guard: guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, rsaPrivate)}, algos: []string{"rsa-sha2-256", "ssh-rsa"}}, used: "publickey " + fRSA + " (rsa)"},
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
			name: "methods in another order", cfg: Config{IdentityFiles: files("one"), Password: "right", PreferredAuthentications: []string{"gssapi-with-mic", "password", "publickey"}}, guard: guard{keys: []ssh.PublicKey{one}, password: "right"},
			used: "password", passwords: 1,
		},
		{
			name: "a method that is left out", cfg: Config{IdentityFiles: files("one"), PreferredAuthentications: []string{"password"}}, guard: guard{keys: []ssh.PublicKey{one}}, cause: failure.CauseNoCredentials,
			err: `authentication as "deploy" failed; the bastion takes publickey; PreferredAuthentications of ssh_config leaves out publickey: add what this login is to use`,
		},
		{
			name: "no dialogue, as no method but publickey is to be tried", cfg: Config{PreferredAuthentications: []string{"publickey"}}, guard: guard{prompts: []string{""}, silent: true}, cause: failure.CauseNoCredentials,
			err: `authentication as "deploy" failed; the bastion takes keyboard-interactive; PreferredAuthentications of ssh_config leaves out keyboard-interactive: add what this login is to use`,
		},
		{
			name: "a password is there to be used", cfg: Config{IdentityFiles: files("one"), Password: "right", PreferredAuthentications: []string{"publickey"}}, guard: guard{keys: []ssh.PublicKey{two}, password: "right"},
			offered: []string{f1}, used: "password", passwords: 1,
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
			err: `authentication as "deploy" failed; not offered: identity_file "two" cannot be decrypted: its passphrase is wrong; the bastion takes publickey; correct what keeps these keys from being offered, or add an identity_file that user "` + readfile.User() + `" can read`,
		},
		{
			name: "wrong password is sent once", cfg: Config{Password: "wrong"}, guard: guard{password: "right", prompts: []string{"Password:"}}, answers: []string{"wrong"},
			err: `authentication as "deploy" failed; refused: keyboard-interactive password; the bastion takes password, keyboard-interactive; check user and password`,
		},
		{
			name: "only the dialogue takes the password", cfg: Config{Password: "right"}, guard: guard{password: "another", prompts: []string{"Password:"}},
			used: "keyboard-interactive password", answers: []string{"right"},
		},
		{name: "a dialogue without questions, then the password", cfg: Config{Password: "right"}, guard: guard{password: "right", prompts: []string{}}, used: "password", passwords: 1},
		{
			name: "a dialogue without questions, then a wrong password", cfg: Config{Password: "wrong"}, guard: guard{password: "right", prompts: []string{}}, passwords: 1, cause: failure.CausePasswordRefused,
			err: `authentication as "deploy" failed; refused: password; the bastion takes password, keyboard-interactive; check user and password`,
		},
		{
			name: "the password, then a code, where the method password is taken too", cfg: Config{Password: "right"}, guard: guard{password: "another", prompts: []string{"Password: ", "Verification code: "}}, answers: []string{"right"}, cause: failure.CauseSecondFactor,
			err: `authentication as "deploy" failed; not finished: keyboard-interactive password: asked "Verification code:" after the password; the bastion takes password, keyboard-interactive; ` +
				`password answers one hidden prompt for a password, not "Verification code:": let this user in without a second factor, or with a key alone`,
		},
		{
			name: "password, then the old one and a new one", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: ", "(current) UNIX password: ", "New password: "}}, answers: []string{"right"}, cause: failure.CausePasswordRefused,
			err: `authentication as "deploy" failed; not finished: keyboard-interactive password: asked "(current) UNIX password:"; the password has expired; the bastion takes keyboard-interactive; ` +
				`log in as "deploy" with ssh, which asks for a new password, and put that in the place of the old one`,
		},
		{
			name: "a wrong password, and the bastion hangs up", cfg: Config{Password: "wrong"}, guard: guard{password: "right", maxTries: 1}, passwords: 1, cause: failure.CausePasswordRefused,
			err: `authentication as "deploy" failed; refused: password; the bastion ended the connection; the bastion takes password; check user and password`,
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
			err: `authentication as "deploy" failed; the bastion takes publickey; add an identity_file that user "` + readfile.User() + `" can read`,
		},
		{
			name: "key, then a password that is not there", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}, password: "right", then: "password"},
			err: `authentication as "deploy" failed; accepted as a part: publickey ` + f1 + ` (one); the bastion takes password; add password`,
		},
		{
			name: "one-time code", cfg: Config{IdentityFiles: files("one"), Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, prompts: []string{"Verification code: "}, then: "keyboard-interactive"},
			err: `authentication as "deploy" failed; accepted as a part: publickey ` + f1 + ` (one); not offered: keyboard-interactive password: asked "Verification code:"; ` +
				`the bastion takes keyboard-interactive; password answers one hidden prompt for a password, not "Verification code:": let this user in without a second factor, or with a key alone`, cause: failure.CauseSecondFactor,
		},
		{
			name: "password and code in one round", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: |Code: "}},
			err: `authentication as "deploy" failed; not offered: keyboard-interactive password: asked "Password:  Code:"; ` +
				`the bastion takes keyboard-interactive; password answers one hidden prompt for a password, not "Password:  Code:": let this user in without a second factor, or with a key alone`, cause: failure.CauseSecondFactor,
		},
		{
			name: "password, then a code", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: ", "One-time password: "}}, answers: []string{"right"},
			err: `authentication as "deploy" failed; not finished: keyboard-interactive password: asked "One-time password:" after the password; ` +
				`the bastion takes keyboard-interactive; password answers one hidden prompt for a password, not "One-time password:": let this user in without a second factor, or with a key alone`, cause: failure.CauseSecondFactor,
		},
		{
			name: "key, then a dialogue that asks for nothing", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}, prompts: []string{""}, silent: true, then: "keyboard-interactive"},
			used: "publickey " + f1 + " (one) + keyboard-interactive",
		},
		{name: "a dialogue that asks for nothing, and no key", guard: guard{prompts: []string{"", ""}, silent: true}, used: "keyboard-interactive"},
		{
			name: "no dialogue after a refused key", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{two}, prompts: []string{""}, silent: true}, cause: failure.CauseKeyRefused,
			err: `authentication as "deploy" failed; refused: publickey ` + f1 + ` (one); the bastion takes publickey, keyboard-interactive; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file`,
		},
		{
			name: "key, then a code, without a password", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}, prompts: []string{"Verification code: "}, then: "keyboard-interactive"}, cause: failure.CauseSecondFactor,
			err: `authentication as "deploy" failed; accepted as a part: publickey ` + f1 + ` (one); not offered: keyboard-interactive: asked "Verification code:"; ` +
				`the bastion takes keyboard-interactive; password answers one hidden prompt for a password, not "Verification code:": let this user in without a second factor, or with a key alone`,
		},
		{
			name: "key, then a dialogue for a password that is not there", cfg: Config{IdentityFiles: files("one")}, guard: guard{keys: []ssh.PublicKey{one}, prompts: []string{"Password: "}, then: "keyboard-interactive"}, cause: failure.CauseNoCredentials,
			err: `authentication as "deploy" failed; accepted as a part: publickey ` + f1 + ` (one); not offered: keyboard-interactive: asked "Password:"; the bastion takes keyboard-interactive; add password`,
		},
		{
			name: "password, then a new one", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password: ", "New password: |Retype new password: "}}, answers: []string{"right"}, cause: failure.CausePasswordRefused,
			err: `authentication as "deploy" failed; not finished: keyboard-interactive password: asked "New password:  Retype new password:"; the password has expired; the bastion takes keyboard-interactive; log in as "deploy" with ssh, which asks for a new password, and put that in the place of the old one`,
		},
		{name: "an empty prompt", cfg: Config{Password: "right"}, guard: guard{prompts: []string{" "}}, used: "keyboard-interactive password", answers: []string{"right"}},
		{name: "a name in the prompt", cfg: Config{Password: "right"}, guard: guard{prompts: []string{"Password for deploy@code.example.com:"}}, used: "keyboard-interactive password", answers: []string{"right"}},
		{
			name: "too many keys", cfg: Config{IdentityFiles: many}, guard: guard{keys: []ssh.PublicKey{one}, maxTries: 1}, // x/crypto lets that many queries pass beside
			err: `authentication as "deploy" failed; refused: publickey ` + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(10))) + ` (many0), publickey ` + ssh.FingerprintSHA256(sshtest.PublicOf(t, sshtest.EdKey(11))) +
				` (many1); the bastion ended the connection; the bastion takes publickey; name the right key with identity_file, so that no other is tried first`,
		},
		{
			name: "unnamed keys are four at most, with a password", cfg: Config{IdentityFiles: defaults, Password: "right"}, guard: guard{keys: []ssh.PublicKey{one}, password: "right"},
			offered: []string{fMany(10), fMany(11), fMany(12), fMany(13)}, used: "password", passwords: 1,
		},
		{
			name: "unnamed keys are six at most", cfg: Config{IdentityFiles: defaults}, guard: guard{keys: []ssh.PublicKey{one}, maxTries: 7},
			offered: []string{fMany(10), fMany(11), fMany(12), fMany(13), fMany(14), fMany(15)},
			err: `authentication as "deploy" failed; refused: publickey ` + fMany(10) + ` (many0), publickey ` + fMany(11) + ` (many1), publickey ` + fMany(12) + ` (many2), publickey ` + fMany(13) +
				` (many3), publickey ` + fMany(14) + ` (many4), publickey ` + fMany(15) + ` (many5); not offered: 1 others, since sshd takes 6 attempts by default (MaxAuthTries); the next login begins with these; ` +
				`the bastion takes publickey; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file`,
		},
		{
			name: "SHA-1 only", cfg: Config{IdentityFiles: files("rsa", "one")}, guard: guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, rsaPrivate)}, algos: []string{"ssh-rsa", "ssh-ed25519"}}, offered: []string{f1},
			err: `authentication as "deploy" failed; refused: publickey ` + f1 + ` (one); not offered: publickey ` + fRSA + ` (rsa): the bastion takes none of its signature algorithms; ` +
				`the bastion takes publickey; add the public key to the authorized_keys of "deploy" on the bastion, or name another with identity_file; ` +
				`a bastion that takes RSA keys with SHA-1 alone, which is insecure, needs ssh-rsa in pubkey_accepted_algorithms`,
		},
		{
			name: "not among the accepted algorithms", cfg: Config{IdentityFiles: files("one", "rsa"), Lists: algorithms.Lists{PubkeyAcceptedAlgorithms: []string{"rsa-sha2-512"}}}, guard: guard{keys: []ssh.PublicKey{one}}, offered: []string{fRSA},
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
			a := authFor(t, &test.cfg)
			err := g.server(t).connect(t, a)
			if refused, ok := errors.AsType[*failure.AuthError](err); ok {
				if test.cause != "" && refused.Cause != test.cause {
					t.Errorf("cause %q, want %q", refused.Cause, test.cause)
				}
				refused.Message = strings.ReplaceAll(refused.Message, dir+"/", "")
			} else if err != nil {
				t.Errorf("error of type %T", err)
			}
			sshtest.WantError(t, err, test.err)
			if used := strings.ReplaceAll(a.Used(), dir+"/", ""); err == nil && used != test.used {
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

// TestKeysAreReadAnew: a key that was changed serves the next connect.
func TestKeysAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	cfg := &Config{IdentityFiles: []IdentityFile{{Path: dir + "/id"}}}
	for seed := byte(1); seed < 4; seed++ {
		sshtest.WriteKey(t, dir+"/id", sshtest.EdKey(seed), "")
		g := &guard{keys: []ssh.PublicKey{sshtest.PublicOf(t, sshtest.EdKey(seed))}}
		a := authFor(t, cfg)
		if err := g.server(t).connect(t, a); err != nil {
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
		sshtest.WriteKey(t, path, sshtest.EdKey(byte(10+i)), "")
		files = append(files, IdentityFile{Path: path})
	}
	a := authFor(t, &Config{IdentityFiles: files, Password: "x"})
	client, server := tcpPair(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { // returns when the client is gone
		cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if algorithms.SameKey(key, sshtest.PublicOf(t, sshtest.EdKey(12))) {
				_ = server.Close()
			}
			return nil, errNo
		}}
		cfg.AddHostKey(sshtest.SignerFor(t, sshtest.EdKey(200)))
		_, _, _, _ = ssh.NewServerConn(server, cfg)
		_ = server.Close()
	})
	cc := &ssh.ClientConfig{HostKeyCallback: ssh.FixedHostKey(sshtest.PublicOf(t, sshtest.EdKey(200)))}
	a.Apply(cc)
	_, _, _, handshakeErr := ssh.NewClientConn(client, "b.example:22", cc)
	if handshakeErr == nil {
		t.Fatal("let in")
	}
	if err := a.Explain(handshakeErr); err != handshakeErr { //nolint:errorlint // unchanged is what is meant
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
