//go:build unix

package sshauth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// tokenAgent holds a FIDO key and signs as its token would, having been touched
// (OpenSSH's PROTOCOL.u2f).
type tokenAgent struct {
	agent.ExtendedAgent
	private ed25519.PrivateKey
	public  ssh.PublicKey
}

func (a tokenAgent) List() ([]*agent.Key, error) {
	return []*agent.Key{{Format: a.public.Type(), Blob: a.public.Marshal(), Comment: "token"}}, nil
}

func (tokenAgent) Extension(string, []byte) ([]byte, error) {
	return nil, agent.ErrExtensionUnsupported
}

func (a tokenAgent) SignWithFlags(key ssh.PublicKey, data []byte, _ agent.SignatureFlags) (*ssh.Signature, error) {
	if !bytes.Equal(key.Marshal(), a.public.Marshal()) {
		return nil, errNo
	}
	const userPresent = 1
	rest := binary.BigEndian.AppendUint32([]byte{userPresent}, 7) // and a counter
	application, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	signed := append(append(application[:], rest...), message[:]...)
	blob, err := a.private.Sign(nil, signed, crypto.Hash(0))
	if err != nil {
		return nil, err
	}
	return &ssh.Signature{Format: a.public.Type(), Blob: blob, Rest: rest}, nil
}

// TestSecurityToken: a key's file that names a token is left to the agent, whose
// signature sshd accepts; if that does not hold it, the error says so.
func TestSecurityToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "id_ed25519_sk")
	sshtest.Write(t, file, skFile())
	id, err := (&Config{}).loadIdentity(IdentityFile{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	s := sshtest.StartSSHD(t, sshtest.SSHDOptions{AuthorizedKeys: []string{sshtest.AuthorizedKey(id.public)}})
	socket := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
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
			_ = agent.ServeAgent(tokenAgent{private: sshtest.EdKey(1), public: id.public}, conn)
			_ = conn.Close()
		}
	}()
	cfg := &Config{User: s.User, IdentityAgent: socket, IdentityFiles: []IdentityFile{{Path: file}}, IdentitiesOnly: true}
	if _, err := logIn(t, cfg, nil, s.Addr()); err != nil {
		t.Error(err)
	}
	cfg.IdentityAgent = sshtest.StartAgent(t, agent.AddedKey{PrivateKey: s.ClientKey.Private()})
	_, err = logIn(t, cfg, nil, s.Addr())
	want := `identity_file "` + file + `" is a key on a security token, which only an agent can sign with, and no agent holds it; add it to one with ssh-add`
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
