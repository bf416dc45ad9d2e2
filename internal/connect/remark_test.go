package connect

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/metrics"
)

// TestExposedIsTold once, of a tunnel's host.
func TestExposedIsTold(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	counters := metrics.New(t.Name())
	a := &Attempt{Server: "SSH-2.0-old", Algorithms: &algorithms.Negotiated{
		KeyExchange: ssh.KeyExchangeMLKEM768X25519, PostQuantum: true, Cipher: ssh.CipherChaCha20Poly1305,
	}}
	for range 2 {
		a.Remark(&Config{}, "127.0.0.1:1", counters.First, zap.New(core))
	}
	if told := logs.FilterLevelExact(zapcore.WarnLevel).FilterMessageSnippet("the bastion has no strict key exchange"); told.Len() != 1 {
		t.Errorf("logged %d times", told.Len())
	}
}
