//go:build unix

package tunnel

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// sshdTunnel is a tunnel to a real sshd.
func sshdTunnel(t *testing.T, set Settings, config string) (*sshtest.SSHD, *Handle) {
	t.Helper()
	s, cfg := tunneltest.SSHD(t, config)
	return s, open(t, cfg, set)
}

// TestListenSSHD: forwards as sshd grants them, by its GatewayPorts.
func TestListenSSHD(t *testing.T) {
	for _, gateway := range []string{"no", "clientspecified"} {
		t.Run(gateway, func(t *testing.T) {
			_, h := sshdTunnel(t, quick(), "GatewayPorts "+gateway)
			addr := freeAddr(t)
			p := port(t, addr)
			for _, listenOn := range []string{"127.0.0.1:" + p, "localhost:" + p} {
				ln := listenRemote(t, h, "tcp", listenOn)
				checkListener(t, ln, "tcp", addr)
				_ = ln.Close()
				portFree(t, addr)
			}
			path := filepath.Join(t.TempDir(), "s")
			ln := listenRemote(t, h, "unix", path)
			checkListener(t, ln, "unix", path)
			_ = ln.Close()
		})
	}
}

// TestListenDropbear does the same with dropbear, which neither forwards
// sockets nor cancels forwards: connections are replaced for that.
func TestListenDropbear(t *testing.T) {
	d := sshtest.StartDropbear(t, sshtest.DropbearOptions{})
	cfg := configFor(t, d.ClientKey, "", d.Addr())
	cfg.User, cfg.HostKeys, cfg.KnownHosts = d.User, nil, []string{d.KnownHostsFile()}
	h := open(t, cfg, quick())
	addr := freeAddr(t)
	ln := listenRemote(t, h, "tcp", "localhost:"+port(t, addr))
	checkListener(t, ln, "tcp", addr)
	_ = ln.Close()
	portFree(t, addr)

	// Others on the same connection are served all the while.
	other := freeAddr(t)
	serve(t, listenRemote(t, h, "tcp", "localhost:"+port(t, other)), echoBack)
	serving(t, "tcp", other)
	long, err := net.Dial("tcp", other)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	roundTrip(t, long)
	ln = listenRemote(t, h, "tcp", "localhost:"+port(t, addr))
	checkListener(t, ln, "tcp", addr)
	before := h.Generation()
	stop := hammer(other)
	_ = ln.Close()
	sshtest.Eventually(t, 10*time.Second, "a new connection", func() bool { return h.Generation() > before })
	time.Sleep(2 * remote.Grace)
	roundTrip(t, long)
	if visits, errs := stop(); len(errs) > 0 {
		t.Errorf("%d of %d visits failed: %v", len(errs), visits, errs[0])
	}
}

// TestListenForbidden: PermitListen's refusal is a warning, and harms nothing
// else.
func TestListenForbidden(t *testing.T) {
	set := quick()
	logs := observed(&set)
	permitted := freeAddr(t)
	_, h := sshdTunnel(t, set, "PermitListen "+permitted)
	forbidden := listenRemote(t, h, "tcp", freeAddr(t))
	serve(t, listenRemote(t, h, "tcp", permitted), echoBack)
	serving(t, "tcp", permitted)
	sshtest.Eventually(t, 10*time.Second, "a warning", func() bool { return len(warnings(logs)) > 0 })
	_ = forbidden.Close()
	serving(t, "tcp", permitted)
	roundTrip(t, mustDial(t, h, listen(t, echo)))
}

// TestListenSSHDRestarts: after sshd was killed, also when its port is held by
// another for a while, it is listened on again without anything being done.
func TestListenSSHDRestarts(t *testing.T) {
	s, h := sshdTunnel(t, quick(), "")
	addr := freeAddr(t)
	serve(t, listenRemote(t, h, "tcp", addr), echoBack)
	serving(t, "tcp", addr)

	s.Stop()
	notServing(t, "tcp", addr)
	s.Restart()
	serving(t, "tcp", addr)

	s.Stop()
	var orphan net.Listener
	sshtest.Eventually(t, 5*time.Second, "the port to take it away", func() bool {
		var err error
		orphan, err = net.Listen("tcp", addr)
		return err == nil
	})
	s.Restart()
	time.Sleep(2 * time.Second)
	_ = orphan.Close()
	serving(t, "tcp", addr)
}

// TestListenStaleSocket: a socket file that sshd left behind keeps it from
// listening until it is gone.
func TestListenStaleSocket(t *testing.T) {
	_, h := sshdTunnel(t, quick(), "")
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	serve(t, listenRemote(t, h, "unix", path), echoBack)
	time.Sleep(200 * time.Millisecond)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	serving(t, "unix", path)
}

// TestListenSSHDReplacement: sshd's connection is replaced, and the forward
// moves along.
func TestListenSSHDReplacement(t *testing.T) {
	set := quick()
	set.RekeyInterval = time.Second
	_, h := sshdTunnel(t, set, "")
	addr := freeAddr(t)
	serve(t, listenRemote(t, h, "tcp", addr), echoBack)
	serving(t, "tcp", addr)
	long, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	before := h.Generation()
	sshtest.Eventually(t, 10*time.Second, "a replacement", func() bool { return h.Generation() > before })
	serving(t, "tcp", addr)
	roundTrip(t, long)
}
