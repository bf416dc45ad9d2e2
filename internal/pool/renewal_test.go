//go:build unix

package pool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/renewal"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// authority signs certificates for a real sshd, by ssh-keygen.
type authority struct {
	t    testing.TB
	sshd *sshtest.SSHD
	dir  string // has ca, and the client's id and id-cert.pub
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	sshtest.Run(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", a.dir+"/ca")
	a.sshd = sshtest.StartSSHD(t, sshtest.SSHDOptions{Config: "TrustedUserCAKeys " + a.dir + "/ca.pub\n"})
	a.newKey("id")
	return a
}

func (a *authority) newKey(name string) {
	a.t.Helper()
	sshtest.Run(a.t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(a.dir, name))
}

// certify puts a certificate for a key into a directory of its own, and returns
// its path. Its id is what the sshd logs.
func (a *authority) certify(key, id string, args ...string) string {
	a.t.Helper()
	dir := a.t.TempDir()
	if err := os.Link(filepath.Join(a.dir, key+".pub"), dir+"/id.pub"); err != nil {
		a.t.Fatal(err)
	}
	sshtest.Run(a.t, "ssh-keygen", append(append([]string{"-q", "-s", a.dir + "/ca", "-I", id, "-n", a.sshd.User}, args...), dir+"/id.pub")...)
	return dir + "/id-cert.pub"
}

// put renames a certificate to where the tunnel looks for it.
func (a *authority) put(certificate string) {
	a.t.Helper()
	if err := os.Rename(certificate, a.dir+"/id-cert.pub"); err != nil {
		a.t.Fatal(err)
	}
}

// tunnel logs in with the certificate.
func (a *authority) tunnel(set Settings) *Pool {
	a.t.Helper()
	cfg := connect.Config{
		Name: "test", Address: a.sshd.Addr(), User: a.sshd.User, IdentityAgent: "none", IdentitiesOnly: true,
		IdentityFiles: []sshauth.IdentityFile{{Path: a.dir + "/id"}}, KnownHosts: []string{a.sshd.KnownHostsFile()},
	}
	return open(a.t, cfg, set)
}

// logins counts those by the certificate with an id.
func (a *authority) logins(id string) int {
	n := 0
	for line := range strings.Lines(a.sshd.Log()) {
		if strings.Contains(line, "Accepted publickey for") && strings.Contains(line, " ID "+id+" ") {
			n++
		}
	}
	return n
}

func logged(logs *observer.ObservedLogs, message string) bool {
	return logs.FilterMessage(message).Len() > 0
}

// TestRenewal: a new certificate gets new connections in the place of all that
// were let in with the old one, whose channels go on. What is no new certificate
// gets none.
func TestRenewal(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.put(a.certify("id", "first"))
	set := quick()
	set.MinConnections, set.MaxConnections = 2, 2
	logs := observed(&set)
	h := a.tunnel(set)
	addr := listen(t, echo)
	stream := mustDial(t, h, addr)
	old := connections(t, h, 2)
	// sshd's log may come after the connection.
	sshtest.Eventually(t, 10*time.Second, "two logins with the certificate", func() bool { return a.logins("first") == 2 })
	if e := logs.FilterMessage("connected").All(); len(e) != 1 || e[0].ContextMap()["certificate_expires"] != "never" {
		t.Errorf("logged %v", e)
	}

	cert := a.dir + "/id-cert.pub"
	for what, touch := range map[string]func(){
		"touched": func() { _ = os.Chtimes(cert, time.Now(), time.Now()) },
		"expired": func() { a.put(a.certify("id", "past", "-V", "20200101:20200102")) },
		"another key's": func() {
			a.newKey("other")
			a.put(a.certify("other", "other"))
		},
		"half written": func() { sshtest.Write(t, cert, "ssh-ed25519-cert-v01@openssh.com AAAA") },
		"removed":      func() { _ = os.Remove(cert) },
	} {
		touch()
		time.Sleep(3 * renewal.Settle)
		if logged(logs, "replacing the connection") {
			t.Fatalf("a certificate that is %s replaces the connection", what)
		}
	}

	a.put(a.certify("id", "second", "-V", "+1h"))
	for _, m := range old {
		sshtest.Eventually(t, 10*time.Second, "the old connection drains", m.isDraining)
	}
	roundTrip(t, mustDial(t, h, addr))
	roundTrip(t, stream)
	if n := a.logins("second"); n != 2 {
		t.Errorf("%d logins with the new certificate", n)
	}
	_ = stream.Close()
	for _, m := range old {
		waitGone(t, h, m)
	}
	// The same once more, with a new key, which is written last.
	a.newKey("renewed")
	a.put(a.certify("renewed", "third"))
	time.Sleep(3 * renewal.Settle)
	if n := a.logins("third"); n != 0 {
		t.Errorf("%d logins", n)
	}
	if err := os.Rename(a.dir+"/renewed", a.dir+"/id"); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "logins with the new key and its certificate", func() bool { return a.logins("third") == 2 })
	roundTrip(t, mustDial(t, h, addr))
}

// TestCertificateInTime: a certificate that begins later serves when it does.
func TestCertificateInTime(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.put(a.certify("id", "first"))
	h := a.tunnel(quick())
	roundTrip(t, mustDial(t, h, listen(t, echo)))
	begin := time.Now().Add(3 * time.Second)
	a.put(a.certify("id", "later", "-V", begin.Format("20060102150405")+":20990101"))
	sshtest.Eventually(t, 10*time.Second, "a login with the new certificate", func() bool { return a.logins("later") == 1 })
	if time.Now().Before(begin.Truncate(time.Second)) {
		t.Error("it was used before its time")
	}
}

// TestExpiry: a certificate that is not renewed is logged, before its end and
// at it, once each. What is open goes on.
func TestExpiry(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.put(a.certify("id", "short", "-V", "+5s", "-O", "no-port-forwarding"))
	set := quick()
	set.MinConnections, set.MaxConnections = 2, 2
	logs := observed(&set)
	h := a.tunnel(set)
	links := connections(t, h, 2)
	sshtest.Eventually(t, 10*time.Second, "its end is logged", func() bool {
		return logged(logs, "certificate has expired and was not renewed; open connections go on, but no new one can use it")
	})
	time.Sleep(time.Second)
	for message, want := range map[string]int{
		"certificate permits no forwarding; every channel is refused":                                    1,
		"certificate expires soon and was not renewed":                                                   1,
		"certificate has expired and was not renewed; open connections go on, but no new one can use it": 1,
	} {
		entries := logs.FilterMessage(message).All()
		if len(entries) != want {
			t.Errorf("%q: %d times", message, len(entries))
		}
		for _, e := range entries {
			if fields := e.ContextMap(); e.Level != zap.WarnLevel || fields["certificate"] != "short" || fields["path"] != a.dir+"/id-cert.pub" {
				t.Errorf("%q: %v %v", message, e.Level, fields)
			}
		}
	}
	for _, m := range links {
		if m.client.IsDone() {
			t.Error("a connection ended with its certificate")
		}
	}
}

// TestWrongPrincipal: a refusal says that the certificate is not the user's.
func TestWrongPrincipal(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	a.put(a.certify("id", "others", "-n", "nobody"))
	_, err := dialFor(t, a.tunnel(quick()), "web:80", 10*time.Second)
	want := fmt.Sprintf(`(%s/id-cert.pub), which is for "nobody" and not for %q: the bastion refuses it, unless its AuthorizedPrincipalsFile says otherwise`, a.dir, a.sshd.User)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
