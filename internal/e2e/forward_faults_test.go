//go:build linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// forward_faults_test.go puts forwards of each kind under load, and breaks what
// they go through.

// remotePort is where the bastion listens for the remote forward.
const remotePort = 8080

// forwards is a Caddy whose tunnel has a forward of each kind. They lead to the
// same server: those from here to the one inside, the other to one here.
type forwards struct {
	*caddy
	b              *bastion
	local, dynamic int    // ports here
	here           string // the address of the server here
}

// kinds are those that dial knows.
var kinds = []string{"local", "dynamic", "remote"}

// serveForwards starts it, with a server that handles connections.
func serveForwards(t *testing.T, handle func(kind string, c *net.TCPConn)) *forwards {
	t.Helper()
	b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
	inside := func(c *net.TCPConn) { handle("inside", c) }
	b.serveTCP("127.0.0.1:7", inside)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go accept(l, func(c *net.TCPConn) { handle("here", c) })
	f := &forwards{caddy: newCaddy(t), b: b, local: sshtest.NewPort(t), dynamic: sshtest.NewPort(t), here: l.Addr().String()}
	f.start(f.config(""))
	for _, kind := range kinds {
		sshtest.Eventually(t, patience, "the bastion listens", func() bool {
			conn, err := f.dial(kind)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
	return f
}

// config returns its Caddyfile, with an option more for each forward.
func (f *forwards) config(option string) string {
	return f.caddyfile(f.b.tunnel("prod",
		fmt.Sprintf("local_forward %d echo.internal:7 {\n%s\n}", f.local, option),
		fmt.Sprintf("dynamic_forward %d {\n%s\n}", f.dynamic, option),
		fmt.Sprintf("remote_forward *:%d %s {\n%s\n}", remotePort, f.here, option),
	), "", "")
}

// dial connects through one of the forwards.
func (f *forwards) dial(kind string) (*net.TCPConn, error) {
	address := local(f.local)
	switch kind {
	case "dynamic":
		address = local(f.dynamic)
	case "remote":
		address = fmt.Sprintf("%s:%d", f.b.netns.Addr(), remotePort)
	}
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if kind == "dynamic" {
		socks, _ := proxy.SOCKS5("tcp", "", nil, connected{conn})
		if _, err := socks.Dial("tcp", "echo.internal:7"); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn.(*net.TCPConn), nil
}

// connected is a dialer whose connection there is already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

// mustDial is dial for what must succeed. The test's end closes the connection.
func (f *forwards) mustDial(t *testing.T, kind string) *net.TCPConn {
	t.Helper()
	conn, err := f.dial(kind)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// noise is n bytes that have no pattern, and are the same for the same seed.
func noise(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

// checksum reads all, and returns how many bytes those are and their SHA-256.
func checksum(r io.Reader) string {
	h := sha256.New()
	n, err := io.CopyBuffer(h, r, make([]byte, 256<<10))
	return fmt.Sprintf("%d bytes %x %v", n, h.Sum(nil), err)
}

// exchangeNoise sends n bytes and the end of the stream while it receives as
// many, and returns the checksum of these.
func exchangeNoise(c *net.TCPConn, seed byte, n int64) string {
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, noise(seed, n), make([]byte, 256<<10))
		_ = c.CloseWrite()
	})
	defer sending.Wait()
	return checksum(c)
}

// TestForwardBulk moves much both ways at once, while another stream through
// the same tunnel is in use. E2E_BIG=1 moves more.
func TestForwardBulk(t *testing.T) {
	t.Parallel()
	size := int64(256 << 20)
	switch {
	case os.Getenv("E2E_BIG") == "1":
		size = 1 << 30
	case raceFlag == "-race=true":
		size = 64 << 20 // which takes it as long
	}
	const ours, theirs = 1, 2
	received := make(chan string, 1)
	f := serveForwards(t, func(_ string, c *net.TCPConn) { echo(c) })
	bulk := sshtest.NewPort(t)
	f.b.serveTCP("127.0.0.1:9", func(c *net.TCPConn) { received <- exchangeNoise(c, theirs, size) })
	f.reload(f.caddyfile(f.b.tunnel("prod",
		fmt.Sprintf("local_forward %d echo.internal:7", f.local),
		fmt.Sprintf("local_forward %d echo.internal:9", bulk)), "", ""))
	other := &conn{f.mustDial(t, "local"), t}
	other.exchange("before")

	start := time.Now()
	conn := dialRaw(t, bulk)
	var got string
	done := make(chan struct{})
	// Returns when all is received, or the connection has failed.
	go func() {
		defer close(done)
		got = exchangeNoise(conn.Conn.(*net.TCPConn), ours, size)
	}()
	var waits []time.Duration
	for going := true; going; {
		select {
		case <-done:
			going = false
		case <-time.After(5 * time.Millisecond):
			sent := time.Now()
			other.exchange("are you there?")
			waits = append(waits, time.Since(sent))
		}
	}
	took := time.Since(start)
	if want := checksum(noise(theirs, size)); got != want {
		t.Errorf("received %s, not %s", got, want)
	}
	select {
	case got := <-received:
		if want := checksum(noise(ours, size)); got != want {
			t.Errorf("the server received %s, not %s", got, want)
		}
	case <-time.After(patience):
		t.Error("the server has not received the end of the stream")
	}
	if len(waits) == 0 {
		t.Fatal("the other stream was never used")
	}
	slices.Sort(waits)
	median, longest := waits[len(waits)/2], waits[len(waits)-1]
	t.Logf("%d MiB each way in %v; %d exchanges meanwhile: median %v, longest %v", size>>20, took, len(waits), median, longest)
	// Whoever waited for the transfer would wait for most of it.
	if median > took/20 || longest > took/2 {
		t.Errorf("the other stream waited %v, at times %v, of the %v that the transfer took", median, longest, took)
	}
	f.wantLogins(f.b.SSHD, 2) // one of them for what SOCKS clients have looked up
}

// TestForwardHalfCloses ends each direction by itself, from each side and
// through forwards of each kind.
func TestForwardHalfCloses(t *testing.T) {
	t.Parallel()
	const size = 3_000_000 // more than fits into any buffer on the way
	request := noise(1, size)
	asked, _ := io.ReadAll(request)
	t.Run("the client first", func(t *testing.T) {
		t.Parallel()
		f := serveForwards(t, func(_ string, c *net.TCPConn) {
			all, _ := io.ReadAll(c) // it answers only after the end
			_, _ = c.Write(all)
		})
		for _, kind := range kinds {
			conn := f.mustDial(t, kind)
			if _, err := conn.Write(asked); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, asked) {
				t.Errorf("%s: %d bytes came back, %v", kind, len(got), err)
			}
		}
	})
	t.Run("the server first", func(t *testing.T) {
		t.Parallel()
		got := make(chan []byte, 100)
		f := serveForwards(t, func(_ string, c *net.TCPConn) {
			_, _ = io.WriteString(c, "all there is")
			_ = c.CloseWrite()
			if rest, err := io.ReadAll(c); err == nil && len(rest) > 0 {
				got <- rest
			}
		})
		for _, kind := range kinds {
			conn := f.mustDial(t, kind)
			if all, err := io.ReadAll(conn); err != nil || string(all) != "all there is" {
				t.Fatalf("%s: got %q %v", kind, all, err)
			}
			if _, err := conn.Write(asked); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			select {
			case rest := <-got:
				if !bytes.Equal(rest, asked) {
					t.Errorf("%s: the server got %d other bytes", kind, len(rest))
				}
			case <-time.After(patience):
				t.Errorf("%s: the end of our direction has not come to the server", kind)
			}
		}
	})
}

// TestForwardReloads reloads ten times, with changed forwards, while a hundred
// connections are in use. None may notice.
func TestForwardReloads(t *testing.T) {
	t.Parallel()
	f := serveForwards(t, func(_ string, c *net.TCPConn) { echo(c) })
	var exchanged [100]atomic.Int64
	var stop atomic.Bool
	var transfers sync.WaitGroup
	message, _ := io.ReadAll(noise(1, 20_000))
	for i := range exchanged {
		kind := kinds[i%len(kinds)]
		conn := f.mustDial(t, kind)
		transfers.Go(func() {
			got := make([]byte, len(message))
			for !stop.Load() {
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, err := conn.Write(message)
				if err == nil {
					_, err = io.ReadFull(conn, got)
				}
				if err != nil || !bytes.Equal(got, message) {
					t.Errorf("connection %d, %s: after %d exchanges: %v", i, kind, exchanged[i].Load(), err)
					return
				}
				exchanged[i].Add(1)
			}
		})
	}
	defer transfers.Wait()
	defer stop.Store(true)
	allGoOn := func() {
		t.Helper()
		var before [len(exchanged)]int64
		for i := range exchanged {
			before[i] = exchanged[i].Load()
		}
		sshtest.Eventually(t, patience, "all connections go on", func() bool {
			for i := range exchanged {
				if exchanged[i].Load() < before[i]+2 && !t.Failed() {
					return false
				}
			}
			return true
		})
	}
	allGoOn()
	for n := range 10 {
		f.reload(f.config(fmt.Sprintf("max_connections %d", 1000+n)))
		for _, kind := range kinds {
			c := &conn{f.mustDial(t, kind), t}
			c.exchange(fmt.Sprintf("new after reload %d", n))
			_ = c.Close()
		}
		allGoOn()
	}
	f.wantLogins(f.b.SSHD, 2) // one of them for what SOCKS clients have looked up
}

// TestForwardBastionKilled kills the bastion while forwards are in use. Each
// end that is here must learn of it at once, and that it was no proper end.
func TestForwardBastionKilled(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 100) // how connections to the server here have ended
	f := serveForwards(t, func(where string, c *net.TCPConn) {
		_, err := io.Copy(c, c)
		if where == "here" {
			ended <- err
		}
	})
	if err := <-ended; err != nil { // serveForwards has tried each
		t.Errorf("a closed connection ends with %v", err)
	}
	open := make(map[string]*conn)
	for _, kind := range kinds {
		open[kind] = &conn{f.mustDial(t, kind), t}
		open[kind].exchange("hello")
	}
	f.b.Stop() // keepalives would tell after 45 seconds
	for _, kind := range []string{"local", "dynamic"} {
		_ = open[kind].SetDeadline(time.Now().Add(patience))
		if _, err := open[kind].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: a cut connection ends with %v", kind, err)
		}
	}
	select {
	case err := <-ended:
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("remote: a cut connection ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("remote: a cut connection does not end")
	}
	for _, kind := range []string{"local", "dynamic"} {
		conn, err := f.dial(kind)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if err == nil || err == io.EOF || isTimeout(err) {
			t.Errorf("%s: while the bastion is down a connection ends with %v", kind, err)
		}
	}

	f.b.Restart()
	start := time.Now()
	for _, kind := range kinds {
		sshtest.Eventually(t, patience, kind+" works again", func() bool {
			c, err := f.dial(kind)
			if err != nil {
				return false
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "hello")
			got := make([]byte, 5)
			_, err = io.ReadFull(c, got)
			return err == nil && string(got) == "hello"
		})
		t.Logf("%s works again %v after sshd could be reached", kind, time.Since(start))
	}
}
