package redact

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestMisplaced(t *testing.T) {
	for what, text := range sshtest.Misplaced() {
		for check, err := range map[string]error{"path": CheckPath(text), "name": Check(text)} {
			if err == nil || sshtest.Shows(err.Error(), text) {
				t.Errorf("%s as a %s: %v", what, check, err)
			}
		}
		if q := Quote(text); sshtest.Shows(q, text) && what != "known_hosts file with one line" {
			t.Errorf("%s is quoted as %s", what, q)
		}
	}
	key := string(sshtest.NewKey().PEM(""))
	want := fmt.Sprintf("the value is the text of a private key (%d bytes, begins with -----BEGIN OPENSSH PRIVATE KEY-----), not a path; write it to a file and name that file", len(key))
	if err := CheckPath(key); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := CheckPublicKey(sshtest.NewKey().AuthorizedKey()); err != nil {
		t.Error(err)
	}
	if CheckPublicKey(key) == nil {
		t.Error("a private key is taken for a public one")
	}
}

// TestOrdinaryValues: what is a path or a name is one, however odd.
func TestOrdinaryValues(t *testing.T) {
	for _, s := range []string{
		"", "a", "~/.ssh/id_ed25519", "/etc/caddy/keys/bastion key", `C:\Users\caddy\.ssh\id_rsa`, `\\.\pipe\openssh-ssh-agent`, "SSH_AUTH_SOCK", "none",
		"/nix/store/0c5znw3xzk2ybs8nlfnb7pmj5rnq7sv8-openssh-9.9p1/etc/ssh/ssh_known_hosts",
		"/var/lib/docker/containers/" + strings.Repeat("0123456789abcdef", 4) + "/key",
		"/var/lib/kubelet/pods/6a1c7f52-0c8b-4a52-9b52-4a8c0a9a3b1f/volumes/kubernetes.io~secret/key/..data/ssh-privatekey",
		"deploy@bastion.example.com:22", "[2001:db8::1]:22", "Mxyz", "MAA", "MIIEowIBAAKCAQEA", "AAAAB3NzaC1yc2E", "bücher.example", "unix//run/db.sock|0660",
		"hunter2", "correct horse battery staple", strings.Repeat("x", 255), "/" + strings.Repeat("dir/", 1000),
		"curve25519-sha256,ecdh-sha2-nistp256", "/keys/ssh-ed25519 backup", "10.0.0.0/8:*",
	} {
		if err := errors.Join(CheckPath(s), Check(s), CheckContent(s)); err != nil {
			t.Errorf("%q: %v", s, err)
		}
		if q := Quote(s); q != fmt.Sprintf("%q", s) {
			t.Errorf("%q is quoted as %s", s, q)
		}
	}
}

func TestError(t *testing.T) {
	key := string(sshtest.NewKey().PEM(""))
	if err := Error(fmt.Errorf("open %s: file name too long", key)); sshtest.Shows(err.Error(), key) {
		t.Error(err)
	}
	if plain := errors.New("open /x: no such file"); Error(plain) != plain || Error(nil) != nil {
		t.Error("another error is changed")
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"", "/a/b", "AAAA", "AAAAAAAA", "MIIB", "-----BEGIN -----", "\n", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"} {
		f.Add(s)
	}
	for _, s := range sshtest.Misplaced() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_ = Error(errors.New(s))
		if bad := Path(s); bad != nil && len(bad.String()) > 150 {
			t.Errorf("%q is described as %s", s, bad)
		}
	})
}
