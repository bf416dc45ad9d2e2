package sshtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

var (
	portsMu sync.Mutex
	// ports are those that FreePort has returned: whoever has one listens on it
	// some time later, or again after a restart, while tests run side by side.
	ports = map[int]bool{}
)

// FreePort returns a port of 127.0.0.1 that no one listens on. It returns none
// twice, and none of those that systems take for outgoing connections and for
// port 0 (ip(7), ip_local_port_range), of which tests and benchmarks make many:
// one of them could have it by the time that it is used.
func FreePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	var err error
	for range 1000 {
		port := 10000 + rand.IntN(22000) //nolint:gosec // G404: it is no secret
		if ports[port] {
			continue
		}
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			ports[port] = true
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("looking for a free port: %w", err)
}
