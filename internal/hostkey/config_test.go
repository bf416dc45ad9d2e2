package hostkey

import (
	"slices"
	"testing"
)

func TestDefaultKnownHosts(t *testing.T) {
	system := []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	for home, want := range map[string][]string{"/home/u": {"/home/u/.ssh/known_hosts", "/home/u/.ssh/known_hosts2"}, "": nil} {
		user, machine := DefaultKnownHosts(home)
		if !slices.Equal(user, want) || !slices.Equal(machine, system) {
			t.Errorf("home %q: %q, %q", home, user, machine)
		}
		if cfg := (&Config{KnownHosts: append(user, machine...)}); !cfg.defaultKnownHosts() {
			t.Errorf("%q are not the default files", cfg.KnownHosts)
		}
	}
	for _, files := range [][]string{nil, {"/kh"}, {"/etc/ssh/ssh_known_hosts"}} {
		if (&Config{KnownHosts: files}).defaultKnownHosts() {
			t.Errorf("%q are the default files", files)
		}
	}
}
