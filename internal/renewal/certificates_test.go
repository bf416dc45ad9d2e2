package renewal

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestExpiryNotice(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		name         string
		life, opened time.Duration
		want         time.Duration
	}{
		{"a minute, made a minute after its start", 2 * time.Minute, time.Minute, 15 * time.Second},
		{"an hour", time.Hour, 50 * time.Minute, 15 * time.Minute},
		{"a day", 24 * time.Hour, 0, 6 * time.Hour},
		{"a year", 365 * 24 * time.Hour, 0, 7 * 24 * time.Hour},
		{"opened after its end", time.Minute, 2 * time.Minute, 0},
	} {
		cert := &ssh.Certificate{ValidAfter: uint64(start.Unix()), ValidBefore: uint64(start.Add(test.life).Unix())}
		if got := expiryNotice(cert, start.Add(test.opened)); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

// connection is one that was let in with a certificate.
type connection struct {
	since time.Time
	cert  sshauth.Certificate
}

func (c connection) Certificates() []sshauth.Certificate { return []sshauth.Certificate{c.cert} }

func (c connection) Started() time.Time { return c.since }

// tunnel is a tunnel with one connection.
type tunnel struct {
	log *zap.Logger
	connection
}

func (tunnel) FilesChanged() {}

func (t tunnel) Connections() []Connection { return []Connection{t.connection} }

func (tunnel) Replace(Connection, string) {}

func (tunnel) Expiring([]zap.Field) {}

func (t tunnel) Log() *zap.Logger { return t.log }

// TestWallClockJump: if the clock is set, and set back, each expiry is logged
// once, and none is forgotten.
func TestWallClockJump(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	start := time.Now()
	at := func(d time.Duration) uint64 { return uint64(start.Add(d).Unix()) }
	c := connection{start, sshauth.Certificate{Certificate: &ssh.Certificate{
		Key: sshtest.NewKey().PublicKey(), SignatureKey: sshtest.NewKey().PublicKey(), Signature: &ssh.Signature{Format: ssh.KeyAlgoED25519},
		ValidAfter: at(-time.Hour), ValidBefore: at(30 * 24 * time.Hour),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-port-forwarding": ""}},
	}, Path: "/etc/caddy/id-cert.pub"}}
	k := newCertKeeper(&connect.Config{}, tunnel{zap.New(core), c})
	for _, step := range []struct {
		at       time.Duration
		warnings int // until then
		next     time.Duration
	}{
		{0, 0, 23 * 24 * time.Hour},
		{-10 * 365 * 24 * time.Hour, 0, 0}, // before the certificate's life
		{time.Hour, 0, 23 * 24 * time.Hour},
		{24 * 24 * time.Hour, 1, 30 * 24 * time.Hour}, // expires soon
		{time.Hour, 1, 23 * 24 * time.Hour},
		{25 * 24 * time.Hour, 1, 30 * 24 * time.Hour},
		{365 * 24 * time.Hour, 2, 0}, // has expired
		{time.Hour, 2, 23 * 24 * time.Hour},
		{365 * 24 * time.Hour, 2, 0},
	} {
		next := k.look(start.Add(step.at))
		if n := logs.FilterLevelExact(zapcore.WarnLevel).Len(); n != step.warnings {
			t.Errorf("at %v: %d warnings, want %d", step.at, n, step.warnings)
		}
		if got := next.Sub(start).Round(time.Minute); step.next != 0 && got != step.next {
			t.Errorf("at %v: next look after %v, want %v", step.at, got, step.next)
		}
	}
}

// TestExpiryWithoutFile: a certificate of a variable is warned of, since nobody renews it. An
// agent renews its own.
func TestExpiryWithoutFile(t *testing.T) {
	t.Parallel()
	start := time.Now()
	for fromAgent, want := range map[bool]int{false: 1, true: 0} {
		core, logs := observer.New(zapcore.DebugLevel)
		c := connection{start, sshauth.Certificate{Certificate: &ssh.Certificate{
			Key: sshtest.NewKey().PublicKey(), SignatureKey: sshtest.NewKey().PublicKey(), Signature: &ssh.Signature{Format: ssh.KeyAlgoED25519},
			ValidAfter: uint64(start.Add(-time.Hour).Unix()), ValidBefore: uint64(start.Add(time.Hour).Unix()),
			Permissions: ssh.Permissions{Extensions: map[string]string{"permit-port-forwarding": ""}},
		}, FromAgent: fromAgent}}
		newCertKeeper(&connect.Config{}, tunnel{zap.New(core), c}).look(start.Add(50 * time.Minute))
		if got := logs.FilterMessage("certificate expires soon and was not renewed").Len(); got != want {
			t.Errorf("from an agent %t: %d warnings, want %d", fromAgent, got, want)
		}
	}
}
