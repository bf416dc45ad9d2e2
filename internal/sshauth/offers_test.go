package sshauth

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCertificates: certificates go before their bare keys, and those that are
// no use are passed over.
func TestCertificates(t *testing.T) {
	one := sshtest.PublicOf(t, sshtest.EdKey(1))
	ca := sshtest.SignerFor(t, sshtest.EdKey(50))
	f1 := ssh.FingerprintSHA256(one)
	good := sshtest.CertifyKey(t, ssh.UserCert, one, ca, nil)
	second := sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.KeyId = "second" })
	expired := sshtest.CertifyKey(t, ssh.UserCert, one, ca, func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1, 2 })
	host := sshtest.CertifyKey(t, ssh.HostCert, one, ca, nil)
	foreign := sshtest.CertifyKey(t, ssh.UserCert, sshtest.PublicOf(t, sshtest.EdKey(3)), ca, nil)
	for _, test := range []struct {
		name   string
		beside *ssh.Certificate
		files  []*ssh.Certificate
		isDef  bool
		want   []string
		why    []string
	}{
		{name: "none", want: []string{"publickey " + f1 + " (id)"}},
		{name: "beside", beside: good, want: []string{`publickey certificate "test" ` + f1 + " (id-cert.pub)", "publickey " + f1 + " (id)"}},
		{name: "beside a default file", beside: good, isDef: true, want: []string{`publickey certificate "test" ` + f1 + " (id-cert.pub)", "publickey " + f1 + " (id)"}},
		{
			name: "both", beside: good, files: []*ssh.Certificate{second},
			want: []string{`publickey certificate "second" ` + f1 + " (cert0)", `publickey certificate "test" ` + f1 + " (id-cert.pub)", "publickey " + f1 + " (id)"},
		},
		{name: "the same twice", beside: good, files: []*ssh.Certificate{good}, want: []string{`publickey certificate "test" ` + f1 + " (cert0)", "publickey " + f1 + " (id)"}},
		{name: "written with a default file", files: []*ssh.Certificate{second}, isDef: true, want: []string{`publickey certificate "second" ` + f1 + " (cert0)"}},
		{name: "expired", beside: expired, want: []string{"publickey " + f1 + " (id)"}, why: []string{`certificate "test" ` + f1 + " (id-cert.pub) expired on 1970-01-01T00:00:02Z"}},
		{name: "host", beside: host, want: []string{"publickey " + f1 + " (id)"}, why: []string{`certificate beside the identity_file "id-cert.pub" is not a user certificate`}},
		{name: "foreign", beside: foreign, want: []string{"publickey " + f1 + " (id)"}, why: []string{`certificate "id-cert.pub" is for another key than the file beside it`}},
		{
			name: "foreign file", files: []*ssh.Certificate{foreign}, want: []string{"publickey " + f1 + " (id)"},
			why: []string{`certificate_file "cert0" has its private key in no identity_file or identity, and not in the agent`},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			sshtest.WriteKey(t, dir+"/id", sshtest.EdKey(1), "")
			cfg := &Config{IdentityFiles: []IdentityFile{{Path: dir + "/id", Default: test.isDef}}}
			if test.beside != nil {
				sshtest.Write(t, dir+"/id-cert.pub", sshtest.AuthorizedKey(test.beside))
			}
			for i, c := range test.files {
				path := filepath.Join(dir, "cert"+string(rune('0'+i)))
				sshtest.Write(t, path, sshtest.AuthorizedKey(c))
				cfg.CertificateFiles = append(cfg.CertificateFiles, path)
			}
			c := &collector{cfg: cfg, log: zap.NewNop()}
			c.collect()
			var got []string
			for _, o := range c.offers {
				got = append(got, strings.ReplaceAll(o.what, dir+"/", ""))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("offers\n got %q\nwant %q", got, test.want)
			}
			for i := range c.skipped {
				c.skipped[i] = strings.ReplaceAll(c.skipped[i], dir+"/", "")
			}
			if !slices.Equal(c.skipped, test.why) {
				t.Errorf("skipped\n got %q\nwant %q", c.skipped, test.why)
			}
			g := &guard{keys: []ssh.PublicKey{one}}
			a := authFor(t, cfg)
			if err := g.server(t).connect(t, a); err != nil {
				t.Error(err)
			}
			if used := strings.ReplaceAll(a.Used(), dir+"/", ""); used != test.want[0] {
				t.Errorf("used %q", used)
			}
		})
	}
}
