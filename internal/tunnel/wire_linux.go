package tunnel

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long sent data may stay unacknowledged (tcp(7),
// TCP_USER_TIMEOUT). It finds a link that is dead in our direction only, where
// the bastion's own probes still arrive and look like life.
const userTimeout = 10 * time.Second

// notSent is how much the kernel takes beyond what it has sent (tcp(7),
// TCP_NOTSENT_LOWAT). Its own limit, megabytes, would all lie in front of a
// small request beside an upload.
const notSent = 128 << 10

// tuneSocket sets the socket options that an SSH transport wants and returns
// what to call after each read.
//
// That call makes the kernel acknowledge what was just read at once. sshd
// before 10.1 leaves Nagle's algorithm on for forwarded connections, so each
// of its small replies waits for our acknowledgement of the one before: up to
// 40 ms. TCP_QUICKACK does not stick, hence after every read.
func tuneSocket(conn net.Conn) (acknowledge func()) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return func() {}
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return func() {}
	}
	quickAck := func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}
	// Errors are not worth losing a connection for: without the options it is
	// slower, no more.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
		quickAck(fd)
	})
	return func() { _ = raw.Control(quickAck) }
}
