package connect

import (
	"slices"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshauth"
)

func TestDefaultKnownHosts(t *testing.T) {
	system := []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	for _, test := range []struct {
		cfg  Config
		home string
		want []string
	}{
		{Config{}, "/home/u", append([]string{"/home/u/.ssh/known_hosts", "/home/u/.ssh/known_hosts2"}, system...)},
		{Config{}, "", system},
		{Config{KnownHosts: []string{"/kh"}}, "/home/u", []string{"/kh"}},
		{Config{KnownHosts: []string{"/etc/ssh/ssh_known_hosts"}}, "/home/u", []string{"/etc/ssh/ssh_known_hosts"}},
		{Config{HostKeys: []string{"SHA256:x"}}, "/home/u", nil},
		{Config{HostCertificateAuthorities: []string{"/ca"}}, "/home/u", nil},
	} {
		test.cfg.ApplyDefaults(test.home)
		if !slices.Equal(test.cfg.KnownHosts, test.want) {
			t.Errorf("%q, want %q", test.cfg.KnownHosts, test.want)
		}
		again := test.cfg
		again.ApplyDefaults(test.home)
		if !slices.Equal(again.KnownHosts, test.cfg.KnownHosts) {
			t.Errorf("applied twice: %q", again.KnownHosts)
		}
	}
}

func TestFiles(t *testing.T) {
	cfg := &Config{
		IdentityFiles: []sshauth.IdentityFile{{Path: "/k"}, {Path: "/p.pub"}}, CertificateFiles: []string{"/c"}, IdentityAgent: "/s",
		KnownHosts: []string{"/kh"}, HostCertificateAuthorities: []string{"ssh-ed25519 AAAA", "/ca.pub"},
		RevokedHostKeys: []string{"/rev"},
	}
	want := []string{"/k", "/k-cert.pub", "/k.pub", "/p.pub", "/p-cert.pub", "/c", "/s", "/kh", "/ca.pub", "/rev"}
	if got := cfg.Files(); !slices.Equal(got, want) {
		t.Errorf("files %q", got)
	}
}
