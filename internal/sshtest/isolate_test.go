//go:build linux

package sshtest

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestIsolate(t *testing.T) {
	if os.Getenv(isolated) == "" {
		Missing(t, "a network of our own needs root, or unshare(1) and user namespaces")
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp == 0 {
			t.Errorf("%s is down", i.Name)
		}
	}
	// Whatever is there besides comes from NewNetns.
	if c, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		_ = c.Close()
		t.Error("there is a way to the world")
	}
}

// TestAllIsolate has every package that listens in its tests call Isolate.
func TestAllIsolate(t *testing.T) {
	listens := regexp.MustCompile(`\b(?:net\.Listen|ListenConfig\b|httptest\.New|sshtest\.(?:New(?:Bastion|Link|Malice|Netns|Port|Web)|Start))`)
	listening, isolating := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		dir := filepath.Dir(path)
		listening[dir] = listening[dir] || listens.Match(content)
		isolating[dir] = isolating[dir] || strings.Contains(string(content), "\tsshtest.Isolate()") || strings.Contains(string(content), "\tIsolate()") || strings.Contains(string(content), "caddytest.Main(m)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, does := range listening {
		if does && !isolating[dir] {
			t.Errorf("%s listens, but its TestMain does not call sshtest.Isolate", dir)
		}
	}
	if len(isolating) < 5 {
		t.Errorf("only %d packages with tests", len(isolating))
	}
}
