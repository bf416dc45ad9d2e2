package tunnel

import (
	"bytes"
	"net"
	"slices"
	"testing"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostkey"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keystorage"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// learner is a tunnel whose host keys are in a storage.
type learner struct {
	t   *testing.T
	cfg Config
	set Settings
	keystorage.Storage
	logs *observer.ObservedLogs
}

func newLearner(t *testing.T, key *sshtest.Key, address, user string) *learner {
	t.Helper()
	l := &learner{t: t, cfg: configFor(t, key, "", address), set: quick(), Storage: keystorage.Storage{Storage: &certmagic.FileStorage{Path: t.TempDir()}}}
	l.cfg.User, l.cfg.HostKeys, l.cfg.AcceptNewHostKey, l.cfg.UpdateHostKeys = user, nil, true, true
	l.set.KeyMemory = l.Storage
	l.logs = observed(&l.set)
	return l
}

// connect returns a connected tunnel that is closed when the test ends.
func (l *learner) connect() *Handle {
	l.t.Helper()
	h := open(l.t, l.cfg, l.set)
	if err := h.Connect(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	return h
}

// learned returns the keys in the storage, as in .pub files.
func (l *learner) learned() (lines []string) {
	l.t.Helper()
	learned, err := l.Recall(l.t.Context(), hostkey.Route{Name: hostkey.KnownName(l.cfg.Address, "")})
	if err != nil {
		l.t.Fatal(err)
	}
	if learned != nil {
		for _, k := range learned.Keys {
			lines = append(lines, keystorage.AuthorizedKey(k.Key))
		}
	}
	return lines
}

// awaitLearned waits for the keys in the storage to be these, in any order.
func (l *learner) awaitLearned(what string, keys ...ssh.PublicKey) {
	l.t.Helper()
	var want []string
	for _, key := range keys {
		want = append(want, keystorage.AuthorizedKey(key))
	}
	slices.Sort(want)
	sshtest.Eventually(l.t, sshtest.Patience, what, func() bool { return slices.Equal(slices.Sorted(slices.Values(l.learned())), want) })
}

// TestRotationFaults: a bastion that announces keys and does not prove that it has them,
// or that announces without end, changes nothing and has no advantage of it.
func TestRotationFaults(t *testing.T) {
	own, foreign := sshtest.NewKey(), sshtest.NewKey()
	list := func(keys ...ssh.PublicKey) (list []byte) {
		for _, key := range keys {
			list = append(list, ssh.Marshal(struct{ Blob []byte }{key.Marshal()})...)
		}
		return list
	}
	const notUpdated = "the bastion's learned host keys are not updated"
	for name, test := range map[string]struct {
		list    []byte
		silent  bool // it answers nothing but opens of channels
		lists   int
		refused bool // the log says so
	}{
		"does not prove":  {list: list(own.PublicKey(), foreign.PublicKey()), lists: 1, refused: true},
		"does not answer": {list: list(own.PublicKey(), foreign.PublicKey()), lists: 1, silent: true},
		"without end":     {list: list(own.PublicKey(), foreign.PublicKey()), lists: 3000, refused: true},
		"huge":            {list: bytes.Repeat(list(own.PublicKey()), 4000), lists: 20, refused: true},
		"malformed":       {list: []byte("malformed"), lists: 1, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := sshtest.NewKey()
			b := bastionFor(t, client, func(o *sshtest.BastionOptions) { o.HostKeys = []ssh.Signer{own} })
			l := newLearner(t, client, b.Addr(), "tester")
			closeAndWait(t, l.connect())
			l.awaitLearned("the first key is learned", own.PublicKey())

			h := l.connect()
			idle := mustDial(t, h, listen(t, echo))
			roundTrip(t, idle)
			b.Misbehave(sshtest.Faults{HoldRequests: test.silent})
			conn := b.Conns()[0]
			for range test.lists {
				if _, _, err := conn.SendRequest(hostkey.AnnounceRequest, false, test.list); err != nil {
					t.Fatal(err)
				}
			}
			if !test.silent {
				// In its order, so the client has taken all lists.
				if ok, _, err := conn.SendRequest("keepalive@openssh.com", true, nil); ok || err != nil {
					t.Errorf("the client answered %t, %v", ok, err)
				}
			}
			if test.refused {
				sshtest.Eventually(t, sshtest.Patience, "the log says that nothing is updated", func() bool {
					return l.logs.FilterMessage(notUpdated).Len() > 0
				})
			}
			roundTrip(t, idle)
			roundTrip(t, mustDial(t, h, listen(t, echo)))
			l.awaitLearned("nothing has changed", own.PublicKey())
			if n := l.logs.FilterMessage(notUpdated).Len(); n > 1 || test.refused != (n == 1) {
				t.Errorf("logged %d times", n)
			}
			if n := b.Stats().Logins; n != 2 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// TestRotationLost: a connection that ends while the bastion is to prove its keys leaves
// nothing behind, not even a warning.
func TestRotationLost(t *testing.T) {
	client, own := sshtest.NewKey(), sshtest.NewKey()
	b := bastionFor(t, client, func(o *sshtest.BastionOptions) { o.HostKeys = []ssh.Signer{own} })
	l := newLearner(t, client, b.Addr(), "tester")
	closeAndWait(t, l.connect())
	h := l.connect()
	sshtest.Eventually(t, sshtest.Patience, "the bastion knows the connection", func() bool { return len(b.Conns()) == 1 })
	b.Misbehave(sshtest.Faults{HoldRequests: true})
	payload := append(ssh.Marshal(struct{ Blob []byte }{own.PublicKey().Marshal()}), ssh.Marshal(struct{ Blob []byte }{sshtest.NewKey().PublicKey().Marshal()})...)
	if _, _, err := b.Conns()[0].SendRequest(hostkey.AnnounceRequest, false, payload); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, mustDial(t, h, listen(t, func(c net.Conn) { echo(c) }))) // it has the list
	closeAndWait(t, h)
	l.awaitLearned("nothing has changed", own.PublicKey())
	if n := l.logs.FilterMessageSnippet("learned host keys").Len(); n > 0 {
		t.Errorf("logged %v", l.logs.All())
	}
}
