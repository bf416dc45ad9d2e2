package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestCaddyfiles is that what is configured for raw connections, sites on the
// bastion and many tunnels has one place for further global options, and the
// addresses that it should.
func TestCaddyfiles(t *testing.T) {
	s := &stage{dir: "/dir", user: "me", webAddr: "127.0.0.1:80"}
	for name, test := range map[string]struct {
		caddyfile string
		want      []string
	}{
		"local_forward": {localForward.caddyfile(s, 1234, "127.0.0.1:22", "127.0.0.1:80"), []string{
			"\tssh_tunnel {\n\t\ttunnel bench me@127.0.0.1:22 {\n", "\t\t\tlocal_forward 127.0.0.1:1234 127.0.0.1:80\n",
		}},
		"wrapper": {listenerWrapper.caddyfile(s, 1234, "127.0.0.1:22", "127.0.0.1:80"), []string{
			"tunnel bench me@127.0.0.1:22 {", "servers 127.0.0.1:1234 {", "ssh_tunnel bench 127.0.0.1:80\n", "http://:1234 {\n\tbind 127.0.0.1\n",
		}},
		"bind": {s.bindCaddyfile(tunnel, 1234, "127.0.0.1:22"), []string{
			"tunnel bench me@127.0.0.1:22 {", "http://:1234 {\n\tbind ssh_tunnel/bench\n\treverse_proxy 127.0.0.1:80\n",
		}},
		"ssh -R":  {s.bindCaddyfile(sshR, 1234, "127.0.0.1:22"), []string{"http://:1234 {\n\tbind 127.0.0.1\n"}},
		"tunnels": {s.tunnelsCaddyfile(3, "127.0.0.1:22"), []string{"tunnel t1 me@", "tunnel t2 me@", "tunnel t3 me@"}},
	} {
		got := fmt.Sprintf(test.caddyfile, "admin off")
		if strings.Contains(got, "%!") || strings.Count(got, "{\n\tadmin off\n") != 1 {
			t.Errorf("%s has no place for global options:\n%s", name, got)
		}
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, got)
			}
		}
		if open, end := strings.Count(got, "{"), strings.Count(got, "}"); open != end {
			t.Errorf("%s opens %d blocks, and ends %d:\n%s", name, open, end, got)
		}
	}
}
