//go:build unix

package keyfile

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// shell runs a command line in a directory, and fails the test if that fails.
func shell(t testing.TB, dir, line string) string {
	t.Helper()
	if strings.Contains(line, "-t dsa") && !hasDSA() {
		t.Skip("ssh-keygen makes no DSA keys any more")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", "umask 077; "+line)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// hasDSA reports whether ssh-keygen makes DSA keys, which it does up to OpenSSH 9.
var hasDSA = sync.OnceValue(func() bool {
	out, err := exec.Command("ssh", "-Q", "key").Output()
	return err == nil && strings.Contains(string(out), "ssh-dss\n")
})

// need skips a test without the programs, but not in CI.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		sshtest.Program(t, name)
	}
}

// bySSH returns the public key that ssh-keygen reads from a private key, or nil.
func bySSH(t testing.TB, path, passphrase string) ssh.PublicKey {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-y", "-P", passphrase, "-f", path).Output()
	if err != nil {
		return nil
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(out)
	if err != nil && !bytes.HasPrefix(out, []byte("ssh-dss ")) {
		t.Fatal(err)
	}
	return key
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// sources returns a directory with the keys rsa8, of openssl, and a, of ssh-keygen.
func sources(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	shell(t, dir, "openssl genrsa -out rsa8 2048 2>&1; ssh-keygen -q -t ed25519 -N '' -f a")
	return dir
}
