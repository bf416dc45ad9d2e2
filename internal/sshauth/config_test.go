package sshauth

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestApplyDefaults(t *testing.T) {
	const all = "id_rsa id_ecdsa id_ecdsa_sk id_ed25519 id_ed25519_sk id_mldsa44_ed25519"
	files := []IdentityFile{{Path: "/k"}}
	for _, test := range []struct {
		name  string
		cfg   Config
		files string // default ones
		agent string
		only  bool
	}{
		{"nothing", Config{}, all, "SSH_AUTH_SOCK", false},
		{"identity_file", Config{IdentityFiles: files}, "", "SSH_AUTH_SOCK", true},
		{"identity_file and agent", Config{IdentityFiles: files, IdentityAgent: "/s"}, "", "/s", false},
		{"identity_file, agent and only", Config{IdentityFiles: files, IdentityAgent: "/s", IdentitiesOnly: true}, "", "/s", true},
		{"identity_file and identities_only no", Config{IdentityFiles: files, IdentityAgent: "SSH_AUTH_SOCK"}, "", "SSH_AUTH_SOCK", false},
		{"identity_file and no agent", Config{IdentityFiles: files, IdentityAgent: "none"}, "", "none", true},
		{"identity_file and password", Config{IdentityFiles: files, Password: "x"}, "", "SSH_AUTH_SOCK", true},
		{"identity_file none", Config{NoIdentityFiles: true}, "", "SSH_AUTH_SOCK", false},
		{"agent", Config{IdentityAgent: "/s"}, "", "/s", false},
		{"no agent", Config{IdentityAgent: "none"}, all, "none", false},
		{"password", Config{Password: "x"}, "", "none", false},
		{"password and agent", Config{Password: "x", IdentityAgent: "/s"}, "", "/s", false},
		{"certificate_file", Config{CertificateFiles: []string{"/c"}}, all, "SSH_AUTH_SOCK", true},
		{"identities_only", Config{IdentitiesOnly: true}, all, "SSH_AUTH_SOCK", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, home := range []string{"/home/u", ""} {
				cfg := test.cfg
				cfg.ApplyDefaults(home)
				var got []string
				for _, f := range cfg.IdentityFiles {
					if f.Default {
						got = append(got, strings.TrimPrefix(f.Path, filepath.Join(home, ".ssh")+"/"))
					}
				}
				want := test.files
				if home == "" {
					want = ""
				}
				if strings.Join(got, " ") != want || cfg.IdentityAgent != test.agent || cfg.IdentitiesOnly != test.only {
					t.Errorf("home %q: files %q, agent %q, only %v", home, got, cfg.IdentityAgent, cfg.IdentitiesOnly)
				}
			}
		})
	}
}
