//go:build linux

package sshtest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestNetns(t *testing.T) {
	ns := NewNetns(t)
	ns.SetHosts("127.0.0.1 web.internal")
	web := NewWeb(t, WebOptions{Name: "inside", Listener: ns.Listen("tcp", "127.0.0.1:8080")})
	if c, err := net.Dial("tcp", web.Addr()); err == nil {
		_ = c.Close()
		t.Fatal("the private server can be reached from outside")
	}
	d := StartSSHD(t, SSHDOptions{Netns: ns})
	if d.Host != ns.Addr() {
		t.Errorf("sshd listens on %s", d.Host)
	}
	client := mustLogin(t, d.daemon)
	// The name has a meaning, and the address a server, inside alone.
	transport := &http.Transport{DialContext: client.DialContext, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: Patience}).Get("http://web.internal:8080/hello")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if got := readAll(t, response.Body); got != "hello from inside\n" {
		t.Errorf("got %q", got)
	}
	out, err := ns.Command("ip", "-o", "addr").Output()
	if err != nil || !strings.Contains(string(out), ns.Addr()+"/30") {
		t.Errorf("inside: %s %v", out, err)
	}

	ns.Unplug()
	answered := make(chan error, 1)
	go func() {
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("an unplugged server answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	ns.Plug()
	select {
	case err := <-answered:
		if err != nil {
			t.Errorf("plugged in again: %v", err)
		}
	case <-time.After(Patience):
		t.Error("plugged in again, it did not answer")
	}
}

func TestNetnsIsRemoved(t *testing.T) {
	var name string
	t.Run("made", func(t *testing.T) { name = NewNetns(t).name })
	out, err := exec.Command("ip", "netns", "list").Output()
	if name == "" {
		return // skipped
	}
	if err != nil || strings.Contains(string(out), name) {
		t.Errorf("namespaces: %s %v", out, err)
	}
}

// TestNetnsEtc: the inside keeps its /etc when a file of the machine's is replaced. The
// machine of this test is a network too, whose /etc is a copy.
func TestNetnsEtc(t *testing.T) {
	machine, ns := NewNetns(t), NewNetns(t)
	ns.WriteEtc("passwd", "inside\n")
	inside := ns.Command("sh", "-c", `cat /etc/passwd; read replaced; cat /etc/passwd`)
	cmd := machine.Command(inside.Path, inside.Args[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	before, _ := lines.ReadString('\n')
	machine.WriteEtc("passwd+", "machine\n")
	if err := os.Rename(machine.Etc("passwd+"), machine.Etc("passwd")); err != nil {
		t.Error(err)
	}
	_, _ = io.WriteString(in, "\n")
	after, _ := lines.ReadString('\n')
	if err := cmd.Wait(); err != nil || before != "inside\n" || after != before {
		t.Errorf("got %q, then %q (%v)", before, after, err)
	}
}
