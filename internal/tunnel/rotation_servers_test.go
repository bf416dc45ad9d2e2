//go:build unix

package tunnel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// rotatingSSHD is an sshd whose host keys change. The first is of the fixture.
type rotatingSSHD struct {
	*sshtest.SSHD
	t *testing.T
	// more is the directory of the files of more lines of sshd_config.
	more string
}

func newRotatingSSHD(t *testing.T) *rotatingSSHD {
	t.Helper()
	s := &rotatingSSHD{t: t, more: t.TempDir()}
	s.SSHD = sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "Include " + s.more + "/*.conf\n"})
	return s
}

// set writes the file of sshd's first key, and of more, all of which it reads then.
func (s *rotatingSSHD) set(first *sshtest.Key, more ...*sshtest.Key) {
	s.t.Helper()
	sshtest.Write(s.t, filepath.Join(s.Dir, "host_key"), string(first.PEM("")))
	var lines strings.Builder
	for i, key := range more {
		path := filepath.Join(s.more, "host_key_"+string(rune('a'+i)))
		sshtest.Write(s.t, path, string(key.PEM("")))
		lines.WriteString("HostKey " + path + "\n")
	}
	sshtest.Write(s.t, filepath.Join(s.more, "keys.conf"), lines.String())
	s.Reconfigure("")
}

// TestRotation does with an sshd what OpenSSH's regress/hostkey-rotate.sh does, and as it
// for ssh, each connect succeeds.
func TestRotation(t *testing.T) {
	t.Parallel()
	sshd := newRotatingSSHD(t)
	l := newLearner(t, sshd.ClientKey, sshd.Addr(), sshd.User)
	primary, ecdsa, rsa := sshd.HostKey, sshtest.NewECDSAKey(), sshtest.NewRSAKey(2048)
	publicKeys := func(keys ...*sshtest.Key) (public []ssh.PublicKey) {
		for _, key := range keys {
			public = append(public, key.PublicKey())
		}
		return public
	}
	// connect connects, and waits for what is learned then. The bastion shows shown.
	connect := func(what string, shown *sshtest.Key, want ...*sshtest.Key) {
		t.Helper()
		h := l.connect()
		if got := h.Status().Connections[0].HostKey; got != shown.Fingerprint() {
			t.Errorf("%s: the connection has the key %s, want %s", what, got, shown.Fingerprint())
		}
		l.awaitLearned(what, publicKeys(want...)...)
		closeAndWait(t, h)
	}
	wantLogged := func(added, removed []*sshtest.Key) {
		t.Helper()
		const message = "the bastion's learned host keys are updated"
		sshtest.Eventually(t, sshtest.Patience, "the log has the change", func() bool { return l.logs.FilterMessage(message).Len() > 0 })
		entries := l.logs.FilterMessage(message).All()
		if len(entries) != 1 || entries[0].Level != zap.InfoLevel {
			t.Fatalf("logged %v", entries)
		}
		for field, keys := range map[string][]*sshtest.Key{"added": added, "removed": removed} {
			var want, got []string
			for _, key := range keys {
				want = append(want, key.PublicKey().Type()+" "+key.Fingerprint())
			}
			for _, name := range entries[0].ContextMap()[field].([]any) {
				got = append(got, name.(string))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", field, got, want)
			}
		}
		l.logs.TakeAll()
	}

	sshd.set(primary, ecdsa, rsa)
	connect("the first connection learns its key alone", primary, primary)
	connect("the second learns the others", primary, primary, ecdsa, rsa)
	wantLogged([]*sshtest.Key{ecdsa, rsa}, nil)
	for _, key := range []*sshtest.Key{primary, ecdsa, rsa} {
		algos := []string{key.PublicKey().Type(), "ssh-ed25519", "rsa-sha2-512", "ecdsa-sha2-nistp256"}
		if key == rsa {
			algos = []string{"rsa-sha2-256", "rsa-sha2-512", "ssh-ed25519", "ecdsa-sha2-nistp256"}
		}
		l.cfg.HostKeyAlgorithms = slices.Compact(algos)
		connect("each type connects", key, primary, ecdsa, rsa)
	}
	l.cfg.HostKeyAlgorithms = nil

	changed := sshtest.NewECDSAKey()
	sshd.set(primary, changed, rsa)
	connect("a changed key of another type is learned", primary, primary, changed, rsa)
	wantLogged([]*sshtest.Key{changed}, []*sshtest.Key{ecdsa})

	next := sshtest.NewKey()
	sshd.set(primary, changed, rsa, next)
	connect("a second key of the same type is learned", primary, primary, changed, rsa, next)
	wantLogged([]*sshtest.Key{next}, nil)

	sshd.set(next, changed, rsa)
	connect("the bastion has another primary key", next, changed, rsa, next)
	wantLogged(nil, []*sshtest.Key{primary})

	l.cfg.HostKeyAlgorithms = []string{"ssh-ed25519"}
	connect("only the rotated key is accepted", next, changed, rsa, next)
	l.cfg.HostKeyAlgorithms = nil

	// With RSA agreed on, RSA keys are proven with the same algorithm.
	l.cfg.HostKeyAlgorithms = []string{"rsa-sha2-256", "ssh-ed25519"}
	other := sshtest.NewRSAKey(3072)
	sshd.set(next, rsa, other)
	connect("an RSA key over a connection with one", rsa, next, rsa, other)
	wantLogged([]*sshtest.Key{other}, []*sshtest.Key{changed})
	l.cfg.HostKeyAlgorithms = nil

	// Without updates, and without a plan, the new key is refused.
	l.cfg.UpdateHostKeys = false
	sshd.set(next, rsa, other, sshtest.NewECDSAKey())
	connect("nothing is updated", next, next, rsa, other)
	l.cfg.UpdateHostKeys = true
	sshd.set(primary, rsa, other)
	h := open(t, l.cfg, l.set)
	if err := h.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "host key mismatch") {
		t.Errorf("a key that was not announced: %v", err)
	}
	if n := l.logs.FilterMessageSnippet("are not updated").Len(); n > 0 {
		t.Errorf("logged %v", l.logs.All())
	}
}

// TestRotationRevoked: a revoked key is not learned, and known_hosts files stay as they
// are.
func TestRotationRevoked(t *testing.T) {
	t.Parallel()
	sshd := newRotatingSSHD(t)
	l := newLearner(t, sshd.ClientKey, sshd.Addr(), sshd.User)
	revoked, ecdsa := sshtest.NewKey(), sshtest.NewECDSAKey()
	content := "@revoked * " + revoked.AuthorizedKey() + "\n"
	known := sshtest.WriteFile(t, "known_hosts", []byte(content))
	l.cfg.KnownHosts = []string{known}
	closeAndWait(t, l.connect())
	sshd.set(sshd.HostKey, revoked, ecdsa)
	h := l.connect()
	l.awaitLearned("the other key is learned", sshd.HostKey.PublicKey(), ecdsa.PublicKey())
	closeAndWait(t, h)
	if now, err := os.ReadFile(known); err != nil || string(now) != content {
		t.Errorf("known_hosts is %q, %v", now, err)
	}
}

// TestRotationJump: the keys of a bastion are those of the way to it.
func TestRotationJump(t *testing.T) {
	t.Parallel()
	edge, sshd := sshtest.StartSSHD(t, sshtest.SSHDOptions{}), newRotatingSSHD(t)
	l := newLearner(t, sshd.ClientKey, sshd.Addr(), sshd.User)
	next := sshtest.NewECDSAKey()
	closeAndWait(t, l.connect()) // without the jump
	through := func() *Handle {
		cfg := configFor(t, edge.ClientKey, edge.HostKey.Fingerprint(), edge.Addr())
		cfg.User = edge.User
		jump := open(t, cfg, quick())
		inner := Open(l.cfg, l.set, jump)
		inner.Start()
		t.Cleanup(func() { closeAndWait(t, inner) })
		if err := inner.Connect(t.Context()); err != nil {
			t.Fatal(err)
		}
		return inner
	}
	closeAndWait(t, through())
	sshd.set(sshd.HostKey, next)
	h := through()
	sshtest.Eventually(t, sshtest.Patience, "the keys behind the jump are updated", func() bool {
		all, err := l.All(t.Context())
		return err == nil && len(all) == 2 && len(all[0].Keys()) == 1 && len(all[0].Via) == 0 && len(all[1].Keys()) == 2 && len(all[1].Via) == 1
	})
	closeAndWait(t, h)
}

// TestRotationUnsupported: servers that announce no keys keep the one that was learned.
func TestRotationUnsupported(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (key, hostKey *sshtest.Key, address, user string){
		"dropbear": func(t *testing.T) (*sshtest.Key, *sshtest.Key, string, string) {
			d := sshtest.StartDropbear(t, sshtest.DropbearOptions{})
			return d.ClientKey, d.HostKey, d.Addr(), d.User
		},
		"paramiko": func(t *testing.T) (*sshtest.Key, *sshtest.Key, string, string) {
			p := sshtest.StartParamiko(t, sshtest.ParamikoOptions{Reply: sshtest.KeepaliveUnimplemented})
			return p.ClientKey, p.HostKey, p.Addr(), p.User
		},
		"tinyssh": func(t *testing.T) (*sshtest.Key, *sshtest.Key, string, string) {
			d := sshtest.StartTinySSH(t)
			return d.ClientKey, d.HostKey, d.Addr(), d.User
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, hostKey, address, user := start(t)
			l := newLearner(t, client, address, user)
			for range 2 {
				h := l.connect()
				_, _ = dialFor(t, h, listen(t, echo), sshtest.Patience) // TinySSH forwards nothing
				l.awaitLearned("one key is learned", hostKey.PublicKey())
				if h.Status().State != report.StateUp {
					t.Errorf("%+v", h.Status())
				}
				closeAndWait(t, h)
			}
			if n := l.logs.FilterMessageSnippet("learned host keys").Len(); n > 0 {
				t.Errorf("logged %v", l.logs.All())
			}
		})
	}
}
