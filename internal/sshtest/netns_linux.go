package sshtest

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// netns_linux.go makes private networks: Linux network namespaces.

// Netns is a network of its own with a loopback interface and one wire to us.
// What listens on its 127.0.0.1 can be reached from inside alone.
type Netns struct {
	t          testing.TB
	name       string
	ours       string // our end of the wire
	etc        string // the directory that is /etc inside
	host, addr string // the addresses of the wire's ends, ours and the inner
}

// netnsCount numbers the namespaces of this process.
var netnsCount atomic.Uint32

// NewNetns makes a network namespace, which is removed when the test ends.
// Where we are not root, or have no ip(8), the test is skipped.
func NewNetns(t testing.TB) *Netns {
	t.Helper()
	Root(t, "a network namespace")
	Program(t, "ip")
	// Names and addresses are unique to this process and count: a /30 of
	// 10.64.0.0/10 has two hosts, and a /22 has 256 of them.
	pid, n := os.Getpid(), netnsCount.Add(1)-1
	if n >= 256 {
		t.Fatal("256 network namespaces are enough for a test binary")
	}
	at := pid&0xfff<<10 | int(n)<<2
	subnet := fmt.Sprintf("10.%d.%d", 64+at>>16&63, at>>8&255)
	ns := &Netns{
		t:    t,
		name: fmt.Sprintf("sshtest-%d-%d", pid, n),
		ours: fmt.Sprintf("st%dn%d", pid, n), // at most 15 bytes
		etc:  filepath.Join(t.TempDir(), "etc"),
		host: fmt.Sprintf("%s.%d", subnet, at&255+1),
		addr: fmt.Sprintf("%s.%d", subnet, at&255+2),
	}
	if out, err := exec.Command("ip", "netns", "add", ns.name).CombinedOutput(); err != nil {
		Missing(t, fmt.Sprintf("network namespaces are not permitted here: %s", strings.TrimSpace(string(out))))
	}
	t.Cleanup(ns.remove)
	if out, err := exec.Command("cp", "-a", "/etc", ns.etc).CombinedOutput(); err != nil {
		t.Fatalf("copying /etc: %v: %s", err, out)
	}
	const inner = "eth0"
	ns.ip("link", "add", ns.ours, "type", "veth", "peer", "name", inner, "netns", ns.name)
	ns.ip("addr", "add", ns.host+"/30", "dev", ns.ours)
	ns.ip("link", "set", ns.ours, "up")
	ns.ip("-n", ns.name, "addr", "add", ns.addr+"/30", "dev", inner)
	ns.ip("-n", ns.name, "link", "set", inner, "up")
	ns.ip("-n", ns.name, "link", "set", "lo", "up")
	return ns
}

func (ns *Netns) ip(args ...string) {
	ns.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		ns.t.Fatalf("running ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// remove removes the namespace and, with it, the wire.
func (ns *Netns) remove() {
	// The wire first: the namespace lives on while a process or a socket does.
	_ = exec.Command("ip", "link", "del", ns.ours).Run()
	if out, err := exec.Command("ip", "netns", "del", ns.name).CombinedOutput(); err != nil {
		ns.t.Errorf("removing network namespace %s: %v: %s", ns.name, err, out)
	}
}

// Etc returns the path by which we reach a file of the inside's /etc. That is a copy of the
// machine's, and a mount as a whole: whoever replaces a file in /etc by another, as
// useradd(8) does, would remove a mount over that file.
func (ns *Netns) Etc(file string) string { return filepath.Join(ns.etc, file) }

// WriteEtc writes a file in the inside's /etc, which all may read.
func (ns *Netns) WriteEtc(file, content string) {
	ns.t.Helper()
	// What was copied may be a link to a file of the machine's.
	err := os.Remove(ns.Etc(file))
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = os.WriteFile(ns.Etc(file), []byte(content), 0o644) //nolint:gosec // see above
	}
	if err != nil {
		ns.t.Fatal(err)
	}
}

// Addr returns the IP address by which we reach the inside.
func (ns *Netns) Addr() string { return ns.addr }

// HostAddr returns the IP address by which the inside reaches us.
func (ns *Netns) HostAddr() string { return ns.host }

// SetHosts gives names meaning inside alone: lines of an /etc/hosts, such as
// "127.0.0.1 web.internal".
func (ns *Netns) SetHosts(lines ...string) {
	ns.t.Helper()
	ns.WriteEtc("hosts", "127.0.0.1 localhost\n"+strings.Join(lines, "\n")+"\n")
}

// SetResolver makes the resolver at an IP address the only one that is asked inside.
func (ns *Netns) SetResolver(addr string) {
	ns.t.Helper()
	ns.WriteEtc("resolv.conf", "nameserver "+addr+"\n")
}

// ListenPacket is Listen for packets.
func (ns *Netns) ListenPacket(network, address string) net.PacketConn {
	ns.t.Helper()
	var conn net.PacketConn
	var err error
	if inside := ns.inside(func() { conn, err = net.ListenPacket(network, address) }); inside != nil {
		err = inside
	}
	if err != nil {
		ns.t.Fatalf("listening on %s inside %s: %v", address, ns.name, err)
	}
	ns.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Command returns a command that runs inside, and that becomes the program
// named: its process is the program's. ip(8) gives it mounts of its own.
func (ns *Netns) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{
		"netns", "exec", ns.name,
		"sh", "-c", `mount --bind "$0" /etc && exec "$@"`, ns.etc, name,
	}, args...)...)
}

// Listen listens inside, on an address of the inside, while what accepts runs
// in this process: a socket stays in the namespace that it was made in. The
// listener is closed when the test ends.
func (ns *Netns) Listen(network, address string) net.Listener {
	ns.t.Helper()
	var listener net.Listener
	var err error
	if inside := ns.inside(func() { listener, err = net.Listen(network, address) }); inside != nil {
		err = inside
	}
	if err != nil {
		ns.t.Fatalf("listening on %s inside %s: %v", address, ns.name, err)
	}
	ns.t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// Dial connects from inside. It returns nil where nobody answers in time.
func (ns *Netns) Dial(network, address string, timeout time.Duration) net.Conn {
	ns.t.Helper()
	var conn net.Conn
	if err := ns.inside(func() { conn, _ = net.DialTimeout(network, address, timeout) }); err != nil {
		ns.t.Errorf("connecting to %s inside %s: %v", address, ns.name, err)
	}
	return conn
}

// inside runs a function on a thread in the namespace.
func (ns *Netns) inside(do func()) (err error) {
	done := make(chan struct{})
	// Returns when it is done. Its thread is in the namespace then, so it is
	// not unlocked: the runtime ends it.
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var fd int
		if fd, err = unix.Open("/run/netns/"+ns.name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return
		}
		do()
	}()
	<-done
	return err
}

// Unplug takes the wire down: packets vanish both ways, acknowledgements
// included, which Link cannot do. New connects wait for some seconds, then fail
// as unreachable.
func (ns *Netns) Unplug() {
	ns.t.Helper()
	ns.ip("-n", ns.name, "link", "set", "eth0", "down")
}

// Plug undoes Unplug.
func (ns *Netns) Plug() {
	ns.t.Helper()
	ns.ip("-n", ns.name, "link", "set", "eth0", "up")
}
