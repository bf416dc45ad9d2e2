//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// hostile_test.go has clients that mean harm at every port that Caddy has open
// for them, here and on the bastion.

// hostileClient does one thing to a connection, which is kept open, without a
// word, until all have done theirs.
type hostileClient struct {
	name string
	do   func(c *net.TCPConn)
	// gone says that it closes the connection by itself.
	gone bool
}

// send writes as much as the server takes within a moment.
func send(c *net.TCPConn, data []byte) {
	_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = c.Write(data)
}

// record is the beginning of a TLS record with a ClientHello of so many bytes.
func record(hello int) []byte {
	return []byte{22, 3, 1, 0x40, 0, 1, byte(hello >> 16), byte(hello >> 8), byte(hello)}
}

// resetAfter resets the connection after some words.
func resetAfter(words string) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		send(c, []byte(words))
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

var hostileClients = []hostileClient{
	{name: "says nothing", do: func(*net.TCPConn) {}},
	{name: "says one byte", do: func(c *net.TCPConn) { send(c, []byte{5}) }},
	{name: "sends garbage", do: func(c *net.TCPConn) { send(c, bytes.Repeat([]byte{0xff, 0, 0x7f}, 20_000)) }},
	{name: "floods SOCKS", do: func(c *net.TCPConn) {
		send(c, append([]byte{5, 1, 0}, bytes.Repeat([]byte{5, 1, 0, 3, 255}, 50_000)...))
	}},
	{name: "has a giant SOCKS greeting", do: func(c *net.TCPConn) { send(c, append([]byte{5, 255}, make([]byte, 1<<20)...)) }},
	{name: "has a giant ClientHello", do: func(c *net.TCPConn) { send(c, append(record(1<<24-1), make([]byte, 1<<20)...)) }},
	{name: "has an endless PROXY header", do: func(c *net.TCPConn) { send(c, append([]byte("PROXY TCP4 "), bytes.Repeat([]byte("1"), 1<<20)...)) }},
	{name: "reads nothing", do: func(c *net.TCPConn) {
		send(c, bytes.Repeat([]byte("GET /size/100000 HTTP/1.1\r\nHost: web.internal\r\n\r\n"), 5000))
	}},
	{name: "resets at once", gone: true, do: resetAfter("")},
	{name: "resets in the greeting", gone: true, do: resetAfter("\x05\x01")},
	{name: "resets after the request", gone: true, do: resetAfter("\x05\x01\x00\x05\x01\x00\x03\x0cweb.internal\x00\x50")},
	{name: "resets in the ClientHello", gone: true, do: resetAfter(string(record(500)))},
	{name: "resets in the request", gone: true, do: resetAfter("GET / HT")},
}

const (
	// hostileEach is how many there are of each at each port.
	hostileEach = 20
	// hostileMemory is what a connection may cost, in KiB. Each direction has
	// its buffers, and the channel its window.
	hostileMemory = 512
	// hostileWindow is what comes on top at a port of the bastion: what a visitor
	// has sent and nobody has read, up to the channel's window.
	hostileWindow = 2048
	// hostileLog is how many lines of ours about a port's clients are above debug.
	hostileLog = 15
)

// TestClientsThatMeanHarm: whatever clients do, at whichever port, a site, another
// tunnel and the process go on, and nothing is left of them.
func TestClientsThatMeanHarm(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "MaxStartups 100\nGatewayPorts clientspecified\n")
	ca := sshtest.NewCA()
	ports := map[string]int{"forward": sshtest.NewPort(t), "dead target": sshtest.NewPort(t), "socks": sshtest.NewPort(t), "match": sshtest.NewPort(t), "wrapper": sshtest.NewPort(t)}
	addresses := map[string]string{"bind": b.outside(anyPort), "remote forward": b.outside(ownPort)}
	for name, port := range ports {
		addresses[name] = local(port)
	}
	other := sshtest.NewPort(t)
	c := startCaddy(t, func(c *caddy) string {
		prod := b.tunnel("prod", fmt.Sprintf("local_forward %d web.internal:80", ports["forward"]),
			fmt.Sprintf("local_forward %d web.internal:9", ports["dead target"]), fmt.Sprintf("dynamic_forward %d", ports["socks"]),
			fmt.Sprintf("remote_forward *:%d 127.0.0.1:%d", ownPort, c.port))
		global := fmt.Sprintf("servers 127.0.0.1:%d {\nlistener_wrappers {\nssh_tunnel prod web.internal:80 {\nmatch sni git.internal\n}\ntls\n}\n}\n", ports["match"]) +
			fmt.Sprintf("servers 127.0.0.1:%d {\nlistener_wrappers {\nssh_tunnel prod web.internal:80 {\nproxy_protocol v2\n}\n}\n}\n", ports["wrapper"])
		return c.caddyfile(prod+b.tunnel("second"), global, patient) +
			c.site(other, strings.ReplaceAll(patient, "prod", "second")) +
			c.site(ports["wrapper"], "respond 404") +
			fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\n%s\n}\n", anyPort, patient) +
			tlsSite(siteName, ports["match"], certificate(t, ca, siteName)+`respond "the site"`)
	})
	served := func() {
		t.Helper()
		for _, port := range []int{c.port, other} {
			response, err := c.client.Get(fmt.Sprintf("http://127.0.0.1:%d/hello", port))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("the site at %d answers %s", port, response.Status)
			}
		}
	}
	sshtest.Eventually(t, patience, "both tunnels", func() bool {
		response, err := c.client.Get(fmt.Sprintf("http://127.0.0.1:%d/hello", other))
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	for _, port := range []int{anyPort, ownPort} {
		_ = b.dialOutside(port).Close()
	}
	served()
	goroutines, _ := c.goroutines()
	files, memory := c.descriptors(), c.memory()

	for name, address := range addresses {
		before, logged, most := c.memory(), len(c.told()), hostileMemory
		if ports[name] == 0 {
			most += hostileWindow
		}
		var open []net.Conn
		for _, client := range hostileClients {
			for range hostileEach {
				conn, err := net.DialTimeout("tcp", address, patience)
				if errors.Is(err, syscall.ECONNRESET) {
					continue // the target is dead: that was quick
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				client.do(conn.(*net.TCPConn))
				if !client.gone {
					open = append(open, conn)
				}
			}
			served()
		}
		if grown := c.memory() - before; raceFlag == "-race=false" && len(open) > 100 && grown > most*len(open) {
			t.Errorf("%s: %d KiB for %d connections", name, grown, len(open))
		} else {
			t.Logf("%s: %d KiB for %d connections", name, grown, len(open))
		}
		for _, conn := range open {
			_ = conn.Close()
		}
		if told := c.told()[logged:]; len(told) > hostileLog {
			t.Errorf("%s: %d lines in the log above debug: %.2000s", name, len(told), told)
		}
	}

	// Connections that were added for so many channels go after a minute.
	sshtest.Eventually(t, 6*patience, "nothing to be left", func() bool {
		n, _ := c.goroutines()
		return n <= goroutines+10 && c.descriptors() <= files+10
	})
	served()
	t.Logf("%d KiB before, %d after", memory, c.memory())
}

// memory is what the process holds, in KiB.
func (c *caddy) memory() int {
	c.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// told returns our lines of the log above debug. What Caddy says of clients that
// do not read is what it says of those of any port.
func (c *caddy) told() (lines []string) {
	for line := range strings.Lines(c.log()) {
		var entry struct{ Level, Logger string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level != "debug" && strings.Contains(entry.Logger, "ssh_tunnel") {
			lines = append(lines, line)
		}
	}
	return lines
}
