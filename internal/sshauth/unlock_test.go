package sshauth

import (
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCheckUnlocks: what is decrypted when a configuration is loaded stays so.
func TestCheckUnlocks(t *testing.T) {
	t.Parallel()
	sshtest.Program(t, "ssh-keygen")
	path := sshtest.NewKey().EncryptedFile(t, "correct horse")
	cfg := Config{User: "u", IdentityFiles: []IdentityFile{{Path: path, Passphrase: "correct horse"}}}
	if _, err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	if id, err := cfg.loadIdentity(cfg.IdentityFiles[0]); err != nil || id.took != 0 {
		t.Errorf("%v, took %s", err, id.took)
	}
	cfg.IdentityFiles[0].Passphrase = "wrong"
	for range 2 {
		_, err := cfg.Check()
		sshtest.WantError(t, err, `identity_file "`+path+`" cannot be decrypted: its passphrase is wrong`)
	}
}
