package wire

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socketOptions are those of a TCP socket that an SSH transport wants, as far
// as this system has them. Their errors are not worth losing a connection for:
// without the options it is slower, no more.
type socketOptions struct {
	raw syscall.RawConn // nil if it is not a TCP socket
}

func socketOptionsOf(conn net.Conn) socketOptions {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return socketOptions{}
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return socketOptions{}
	}
	o := socketOptions{raw}
	o.acknowledge()
	return o
}

// setUserTimeout sets how long sent data may stay unacknowledged (tcp(7),
// TCP_USER_TIMEOUT); 0 is the system's default. It finds a link that is dead in our
// direction only, where the bastion's own probes still arrive and look like life.
func (o socketOptions) setUserTimeout(d time.Duration) {
	o.set(unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}

// acknowledge makes the kernel acknowledge at once what has been read. sshd
// before 10.1 leaves Nagle's algorithm on for forwarded connections, so each
// of its small replies waits for our acknowledgement of the one before: up to
// 40 ms. TCP_QUICKACK does not stick: this is for after every read.
func (o socketOptions) acknowledge() { o.set(unix.TCP_QUICKACK, 1) }

// limitUnsent bounds what the kernel takes beyond what it has sent. Its own
// bound is megabytes, all of which would lie in front of a small request
// beside an upload.
func (o socketOptions) limitUnsent(bytes int) { o.set(unix.TCP_NOTSENT_LOWAT, bytes) }

func (o socketOptions) set(option, value int) {
	if o.raw == nil {
		return
	}
	_ = o.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value)
	})
}
