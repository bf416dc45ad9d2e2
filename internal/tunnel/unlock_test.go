package tunnel

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestUnlock: an encrypted key is decrypted before the connection to the bastion is
// made, and not again: the login finds it decrypted, however many rounds it has.
func TestUnlock(t *testing.T) {
	t.Parallel()
	sshtest.Program(t, "ssh-keygen")
	key := sshtest.NewKey()
	path := key.EncryptedFile(t, "correct horse")
	bastion := bastionFor(t, key, nil)
	cfg := configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr())
	cfg.IdentityFiles = []IdentityFile{{Path: path, Passphrase: "{passphrase}"}}
	cfg.Resolve = func(secret string) (string, error) {
		return strings.Replace(secret, "{passphrase}", "correct horse", 1), nil
	}
	decrypted := func(when string) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if k, err := keyfile.Parse(data, "correct horse"); err != nil || k.Took != 0 {
			t.Errorf("%s it was not decrypted: %v", when, err)
		}
	}
	dials := 0
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials == 1 {
			decrypted("at the first dial")
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	h := open(t, cfg, quick())
	if err := h.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dials == 0 {
		t.Error("it did not dial")
	}
}
