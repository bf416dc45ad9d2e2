package hostkey

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// prover is a server that is asked to prove that it has keys.
type prover struct {
	signers []ssh.Signer
	session string
	// rsa is the algorithm with which it signs with RSA keys.
	rsa string
	// asked are the keys that it was asked for.
	asked []ssh.PublicKey
	// edit changes what it answers.
	edit func(answer []byte) ([]byte, error)
}

func (p *prover) prove(_ context.Context, keys []byte) (answer []byte, err error) {
	for len(keys) > 0 {
		var blob []byte
		if blob, keys, err = cutString(keys); err != nil {
			return nil, err
		}
		key, err := ssh.ParsePublicKey(blob)
		if err != nil {
			return nil, err
		}
		p.asked = append(p.asked, key)
		i := slices.IndexFunc(p.signers, func(s ssh.Signer) bool { return algorithms.SameKey(s.PublicKey(), key) })
		if i < 0 {
			return nil, errors.New("refused")
		}
		// As OpenSSH has it, spelt out.
		data := slices.Concat([]byte("\x00\x00\x00\x1dhostkeys-prove-00@openssh.com"), wireString([]byte(p.session)), wireString(blob))
		algo := ""
		if key.Type() == ssh.KeyAlgoRSA {
			algo = p.rsa
		}
		signature, err := p.signers[i].(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, algo)
		if err != nil {
			return nil, err
		}
		answer = append(answer, wireString(ssh.Marshal(signature))...)
	}
	if p.edit != nil {
		return p.edit(answer)
	}
	return answer, nil
}

// announcement is a server's list of keys.
func announcement(keys ...ssh.PublicKey) (list []byte) {
	for _, key := range keys {
		list = append(list, wireString(key.Marshal())...)
	}
	return list
}

// TestUpdate has servers announce keys.
func TestUpdate(t *testing.T) {
	t.Parallel()
	edOne, edTwo := sshtest.SignerFor(t, sshtest.EdKey(1)), sshtest.SignerFor(t, sshtest.EdKey(2))
	ecdsaSigner, rsaSigner := sshtest.SignerFor(t, sshtest.ECDSAKey(t)), sshtest.SignerFor(t, sshtest.RSAKey(t, 2048))
	shortSigner := sshtest.SignerFor(t, sshtest.RSAKey(t, 1024))
	one, two, ecdsa, rsa, short := edOne.PublicKey(), edTwo.PublicKey(), ecdsaSigner.PublicKey(), rsaSigner.PublicKey(), shortSigner.PublicKey()
	certificate := sshtest.CertifyKey(t, ssh.HostCert, two, ecdsaSigner, nil)
	const session = "the session"
	all := []ssh.Signer{edOne, edTwo, ecdsaSigner, rsaSigner, shortSigner}
	dir := t.TempDir()
	sshtest.Write(t, filepath.Join(dir, "revoked"), sshtest.AuthorizedKey(two)+"\n")
	type keys = []ssh.PublicKey
	f := ssh.FingerprintSHA256

	for _, test := range []struct {
		name    string
		learned keys            // before; the first is the connection's
		list    []byte          // what the server announces
		edit    func(*Config)   // default: nothing is known otherwise
		server  func(p *prover) // default: it has all keys, and signs with rsa-sha2-512
		algo    string          // of the key exchange. Default: ssh-ed25519
		asked   keys            // it has to prove that it has them
		after   keys            // learned in the end
		err     string
	}{
		{name: "nothing new", learned: keys{one}, list: announcement(one), after: keys{one}},
		{name: "more keys", learned: keys{one}, list: announcement(rsa, ecdsa, one), asked: keys{rsa, ecdsa}, after: keys{one, rsa, ecdsa}},
		{name: "a new key of the same type", learned: keys{one, rsa}, list: announcement(rsa, one, two), asked: keys{two}, after: keys{one, rsa, two}},
		{name: "one key less", learned: keys{one, rsa, ecdsa}, list: announcement(one, rsa), after: keys{one, rsa}},
		{name: "another one instead", learned: keys{one, rsa}, list: announcement(one, ecdsa), asked: keys{ecdsa}, after: keys{one, ecdsa}},
		{name: "the only one left", learned: keys{one, two, rsa, ecdsa}, list: announcement(one), after: keys{one}},

		{name: "a certificate", learned: keys{one}, list: announcement(one, certificate), after: keys{one}},
		{name: "a certificate of a key that is learned", learned: keys{one, two}, list: announcement(one, certificate), after: keys{one}},
		{name: "an unknown type", learned: keys{one}, list: slices.Concat(wireString([]byte("\x00\x00\x00\x09ssh-dss-x")), announcement(one, two)), asked: keys{two}, after: keys{one, two}},
		{name: "a type that is not in the list", learned: keys{one}, list: announcement(one, rsa, ecdsa), edit: func(c *Config) {
			c.HostKeyAlgorithms = []string{"ssh-ed25519", ecdsa.Type()}
		}, asked: keys{ecdsa}, after: keys{one, ecdsa}},
		{name: "a type that has left the list", learned: keys{one, rsa}, list: announcement(one, rsa), edit: func(c *Config) {
			c.HostKeyAlgorithms = []string{"ssh-ed25519"}
		}, after: keys{one, rsa}},
		{name: "a short key", learned: keys{one}, list: announcement(one, short), after: keys{one}},
		{name: "a short key that is long enough", learned: keys{one}, list: announcement(one, short), edit: func(c *Config) { c.RequiredRSASize = 1024 }, asked: keys{short}, after: keys{one, short}},
		{name: "revoked", learned: keys{one}, list: announcement(one, two, rsa), edit: func(c *Config) {
			c.RevokedHostKeys = []string{filepath.Join(dir, "revoked")}
		}, asked: keys{rsa}, after: keys{one, rsa}},
		{name: "marked @revoked", learned: keys{one}, list: announcement(one, two), edit: func(c *Config) {
			c.KnownHosts = []string{sshtest.WriteFile(t, "kh", []byte("@revoked * "+sshtest.AuthorizedKey(two)+"\n"))}
		}, after: keys{one}},

		{name: "RSA as negotiated", learned: keys{rsa}, list: announcement(rsa, short), edit: func(c *Config) { c.RequiredRSASize = 1024 }, algo: "rsa-sha2-512", asked: keys{short}, after: keys{rsa, short}},
		{name: "RSA as negotiated in a certificate", learned: keys{rsa}, list: announcement(rsa, short), edit: func(c *Config) { c.RequiredRSASize = 1024 }, algo: "rsa-sha2-512-cert-v01@openssh.com", asked: keys{short}, after: keys{rsa, short}},
		{
			name: "RSA not as negotiated", learned: keys{rsa}, list: announcement(rsa, short), edit: func(c *Config) { c.RequiredRSASize = 1024 }, algo: "rsa-sha2-256", asked: keys{short}, after: keys{rsa},
			err: "the bastion's signature with its new host key ssh-rsa " + f(short) + " is wrong",
		},
		{name: "RSA with SHA-256", learned: keys{one}, list: announcement(one, rsa), server: func(p *prover) { p.rsa = ssh.KeyAlgoRSASHA256 }, asked: keys{rsa}, after: keys{one, rsa}},
		{name: "RSA with SHA-1", learned: keys{one}, list: announcement(one, rsa), server: func(p *prover) { p.rsa = ssh.KeyAlgoRSA }, asked: keys{rsa}, after: keys{one}},
		{name: "RSA with SHA-1 beside another", learned: keys{one, ecdsa}, list: announcement(one, rsa, two), server: func(p *prover) { p.rsa = ssh.KeyAlgoRSA }, asked: keys{rsa, two}, after: keys{one, two}},
		{name: "RSA with SHA-1, negotiated", learned: keys{rsa}, list: announcement(rsa, short), edit: func(c *Config) { c.RequiredRSASize = 1024 }, server: func(p *prover) { p.rsa = ssh.KeyAlgoRSA }, algo: "ssh-rsa", asked: keys{short}, after: keys{rsa}},

		{name: "no list", learned: keys{one, two}, after: keys{one, two}, err: "the bastion does not list the host key of this connection"},
		{name: "not its own key", learned: keys{one, two}, list: announcement(two, rsa), after: keys{one, two}, err: "the bastion does not list the host key of this connection"},
		{name: "a list that is cut", learned: keys{one, two}, list: announcement(one, rsa)[:100], after: keys{one, two}, err: "the bastion's list of its host keys is malformed"},
		{name: "a list with a huge length", learned: keys{one, two}, list: append(announcement(one), 0xff, 0xff, 0xff, 0xff, 0), after: keys{one, two}, err: "the bastion's list of its host keys is malformed"},
		{name: "a huge list", learned: keys{one, two}, list: append(announcement(one), bytes.Repeat([]byte{0, 0, 0, 0}, 60_000)...), after: keys{one, two}, err: "the bastion lists more than 32 host keys"},
		{name: "a duplicate", learned: keys{one, two}, list: announcement(one, rsa, rsa), after: keys{one, two}, err: "the bastion lists a host key twice: ssh-rsa " + f(rsa)},
		{name: "its own key twice", learned: keys{one, two}, list: announcement(one, one), after: keys{one, two}, err: "the bastion lists a host key twice: ssh-ed25519 " + f(one)},

		{
			name: "a key that it does not have", learned: keys{one, ecdsa}, list: announcement(one, two, rsa), server: func(p *prover) { p.signers = []ssh.Signer{edOne, rsaSigner} }, asked: keys{two}, after: keys{one, ecdsa},
			err: "asking the bastion to prove that it has its new host keys (hostkeys-prove-00@openssh.com): refused",
		},
		{
			name: "a proof of another connection", learned: keys{one, ecdsa}, list: announcement(one, two), server: func(p *prover) { p.session = "another" }, asked: keys{two}, after: keys{one, ecdsa},
			err: "the bastion's signature with its new host key ssh-ed25519 " + f(two) + " is wrong",
		},
		{
			name: "an empty proof", learned: keys{one, ecdsa}, list: announcement(one, two), server: func(p *prover) {
				p.edit = func([]byte) ([]byte, error) { return nil, nil }
			}, asked: keys{two}, after: keys{one, ecdsa},
			err: "the bastion has not signed with its new host key ssh-ed25519 " + f(two),
		},
		{
			name: "a proof of the first alone", learned: keys{one, ecdsa}, list: announcement(one, two, rsa), server: func(p *prover) {
				p.edit = func(answer []byte) ([]byte, error) {
					_, rest, err := cutString(answer)
					return answer[:len(answer)-len(rest)], err
				}
			}, asked: keys{two, rsa}, after: keys{one, ecdsa},
			err: "the bastion has not signed with its new host key ssh-rsa " + f(rsa),
		},
		{
			name: "a proof of the first twice", learned: keys{one, ecdsa}, list: announcement(one, two, rsa), server: func(p *prover) {
				p.rsa, p.edit = ssh.KeyAlgoRSASHA256, func(answer []byte) ([]byte, error) {
					_, rest, err := cutString(answer)
					first := answer[:len(answer)-len(rest)]
					return slices.Concat(first, first), err
				}
			}, asked: keys{two, rsa}, after: keys{one, ecdsa},
			err: "the bastion's signature with its new host key ssh-rsa " + f(rsa) + " is wrong",
		},
		{
			name: "a proof and more", learned: keys{one, ecdsa}, list: announcement(one, two), server: func(p *prover) {
				p.edit = func(answer []byte) ([]byte, error) { return append(answer, 0), nil }
			}, asked: keys{two}, after: keys{one, ecdsa},
			err: "the bastion's proof of its new host keys is malformed",
		},
		{
			name: "junk for a proof", learned: keys{one, ecdsa}, list: announcement(one, two), server: func(p *prover) {
				p.edit = func([]byte) ([]byte, error) { return bytes.Repeat([]byte{0xff}, 100_000), nil }
			}, asked: keys{two}, after: keys{one, ecdsa},
			err: "the bastion has not signed with its new host key ssh-ed25519 " + f(two),
		},
		{
			name: "no answer", learned: keys{one, ecdsa}, list: announcement(one, two), server: func(p *prover) {
				p.edit = func([]byte) ([]byte, error) { return nil, context.DeadlineExceeded }
			}, asked: keys{two}, after: keys{one, ecdsa},
			err: "asking the bastion to prove that it has its new host keys (hostkeys-prove-00@openssh.com): context deadline exceeded",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := hostConfig(t, "")
			if test.edit != nil {
				test.edit(cfg)
			}
			m, route := newMemory(), cfg.Route().String()
			m.keys[route] = test.learned
			cfg.AcceptNewHostKey, cfg.UpdateHostKeys, cfg.Memory = true, true, m
			core, logs := observer.New(zap.InfoLevel)
			v, err := Load(t.Context(), cfg, zap.New(core))
			if err != nil {
				t.Fatal(err)
			}
			if v.Updates() {
				t.Error("updates before a key is accepted")
			}
			if err := v.verify(t.Context(), test.learned[0]); err != nil || !v.Updates() {
				t.Fatalf("%v, updates: %t", err, v.Updates())
			}
			p := &prover{signers: all, session: session, rsa: ssh.KeyAlgoRSASHA512}
			if test.server != nil {
				test.server(p)
			}
			algo := test.algo
			if algo == "" {
				algo = ssh.KeyAlgoED25519
			}
			v.Update(t.Context(), test.list, Session{ID: []byte(session), HostKeyAlgorithm: algo, Prove: p.prove})

			names := func(list keys) string { return strings.Join(describeHostKeys(list), ", ") }
			if names(p.asked) != names(test.asked) {
				t.Errorf("asked for the proof of %s\nwant %s", names(p.asked), names(test.asked))
			}
			if names(m.keys[route]) != names(test.after) {
				t.Errorf("learned %s\nwant %s", names(m.keys[route]), names(test.after))
			}
			var got error
			for _, e := range logs.FilterMessage("the bastion's learned host keys are not updated").All() {
				got, _ = e.Context[0].Interface.(error)
			}
			sshtest.WantError(t, got, test.err)
			changes := logs.FilterMessage("the bastion's learned host keys are updated").All()
			if changed := names(test.learned) != names(test.after); len(changes) > 0 != changed {
				t.Fatalf("logged %v", logs.All())
			} else if changed {
				fields := changes[0].ContextMap()
				added, removed := []any{}, []any{}
				for _, key := range test.after {
					if !contains(test.learned, key) {
						added = append(added, key.Type()+" "+f(key))
					}
				}
				for _, key := range test.learned {
					if !contains(test.after, key) {
						removed = append(removed, key.Type()+" "+f(key))
					}
				}
				if fields["host_key"] != names(test.learned[:1]) || !slices.Equal(fields["added"].([]any), added) || !slices.Equal(fields["removed"].([]any), removed) {
					t.Errorf("logged %v", fields)
				}
			}
			// The next connection accepts each of them.
			for _, key := range test.after {
				if test.edit == nil {
					if err := verifyLearned(t, m, key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// verifyLearned verifies a key on a new connection.
func verifyLearned(t *testing.T, m Memory, key ssh.PublicKey) error {
	t.Helper()
	v, err := learning(t, m)
	if err != nil {
		t.Fatal(err)
	}
	return v.verify(t.Context(), key)
}

// TestUpdates: nothing is updated where the key of the connection was not learned before.
func TestUpdates(t *testing.T) {
	t.Parallel()
	one, ca := sshtest.PublicOf(t, sshtest.EdKey(1)), sshtest.SignerFor(t, sshtest.EdKey(3))
	certificate := sshtest.CertifyKey(t, ssh.HostCert, one, ca, nil)
	for _, test := range []struct {
		name    string
		learned bool
		known   string
		edit    func(*Config)
		key     ssh.PublicKey
		want    bool
	}{
		{name: "learned", learned: true, want: true},
		{name: "in a certificate of which nothing is known", learned: true, key: certificate, want: true},
		{name: "of other hosts is known", learned: true, known: "c.example " + sshtest.AuthorizedKey(one), want: true},
		{name: "just learned"},
		{name: "switched off", learned: true, edit: func(c *Config) { c.UpdateHostKeys = false }},
		{name: "known_hosts", learned: true, known: "b.example " + sshtest.AuthorizedKey(one)},
		{name: "a pattern in known_hosts", learned: true, known: "*.example " + sshtest.AuthorizedKey(one)},
		{name: "host_key", learned: true, edit: func(c *Config) { c.HostKeys = []string{sshtest.AuthorizedKey(one)} }},
		{name: "fingerprint", learned: true, edit: func(c *Config) { c.HostKeys = []string{ssh.FingerprintSHA256(one)} }},
		{name: "certificate", learned: true, edit: func(c *Config) {
			c.HostCertificateAuthorities = []string{sshtest.AuthorizedKey(ca.PublicKey())}
		}, key: certificate},
		{name: "not checked", learned: true, edit: func(c *Config) { c.InsecureIgnoreHostKey, c.Memory = true, nil }},
		{name: "no memory", learned: true, known: "b.example " + sshtest.AuthorizedKey(one), edit: func(c *Config) { c.Memory = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg, m := hostConfig(t, test.known), newMemory()
			if test.learned {
				m.keys["b.example"] = []ssh.PublicKey{one}
			}
			cfg.AcceptNewHostKey, cfg.UpdateHostKeys, cfg.Memory = true, true, m
			if test.edit != nil {
				test.edit(cfg)
			}
			key := test.key
			if key == nil {
				key = one
			}
			v, err := verifyOnce(t, cfg, key)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Updates(); got != test.want {
				t.Errorf("updates: %t", got)
			}
		})
	}
}

// TestUpdateFails: what cannot be stored is a warning, unless the connection has ended.
func TestUpdateFails(t *testing.T) {
	t.Parallel()
	one, two := sshtest.SignerFor(t, sshtest.EdKey(1)), sshtest.SignerFor(t, sshtest.EdKey(2))
	for err, want := range map[error]int{os.ErrPermission: 1, context.Canceled: 0} {
		m := newMemory()
		m.keys["b.example"] = []ssh.PublicKey{one.PublicKey()}
		cfg := hostConfig(t, "")
		cfg.AcceptNewHostKey, cfg.UpdateHostKeys, cfg.Memory = true, true, m
		core, logs := observer.New(zap.DebugLevel)
		v, loadErr := Load(t.Context(), cfg, zap.New(core))
		if loadErr != nil {
			t.Fatal(loadErr)
		}
		if err := v.verify(t.Context(), one.PublicKey()); err != nil {
			t.Fatal(err)
		}
		m.err = err
		p := &prover{signers: []ssh.Signer{one, two}, session: "s"}
		v.Update(t.Context(), announcement(one.PublicKey(), two.PublicKey()), Session{ID: []byte("s"), HostKeyAlgorithm: "ssh-ed25519", Prove: p.prove})
		if n := logs.FilterField(zap.Error(err)).Len(); len(p.asked) != 1 || n != want || logs.Len() != want {
			t.Errorf("%v: logged %v", err, logs.All())
		}
	}
}

// TestAlgorithmsOfSeveral: the server is asked for keys of all types that are learned
// before others.
func TestAlgorithmsOfSeveral(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.keys["b.example"] = []ssh.PublicKey{sshtest.PublicOf(t, sshtest.RSAKey(t, 2048)), sshtest.PublicOf(t, sshtest.ECDSAKey(t))}
	v, err := learning(t, m)
	if err != nil {
		t.Fatal(err)
	}
	var plain []string
	for _, algo := range v.Algorithms() {
		if !algorithms.IsCertificate(algo) {
			plain = append(plain, algo)
		}
	}
	if want := []string{"ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"}; !slices.Equal(plain[:4], want) {
		t.Errorf("asks for %q", plain)
	}
}

// FuzzAnnounced: of a list, each key is taken once, and there are few.
func FuzzAnnounced(f *testing.F) {
	one, two := sshtest.PublicOf(f, sshtest.EdKey(1)), sshtest.PublicOf(f, sshtest.RSAKey(f, 2048))
	f.Add(announcement(one, two))
	f.Add(announcement(one, one))
	f.Add([]byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, list []byte) {
		keys, err := parseAnnounced(list)
		if err != nil && keys != nil || len(keys) > maxAnnounced {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for i, key := range keys {
			if contains(keys[:i], key) || !bytes.Contains(list, key.Marshal()) {
				t.Fatalf("took %s", describeHostKey(key))
			}
		}
	})
}
