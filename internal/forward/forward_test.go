package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestHooks follows a connection from its opening to its end.
func TestHooks(t *testing.T) {
	target := listen(t)
	opened, closed := make(chan Connection, 1), make(chan Connection, 1)
	address := serve(t, &Forwarder{
		Dial:   dialTo(target),
		OnOpen: func(c Connection) { opened <- c }, OnClose: func(c Connection) { closed <- c },
	})
	client := connect(t, address)
	upstream := accept(t, target)
	if got := <-opened; got.Remote.String() != client.LocalAddr().String() || got.Target != target.Addr().String() {
		t.Errorf("opened %+v", got)
	}

	// Either direction ends without the other.
	say(t, client, "hello")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(upstream); string(got) != "hello" || err != nil {
		t.Errorf("the target got %q (%v)", got, err)
	}
	say(t, upstream, "bye")
	hear(t, client, "bye")
	_ = upstream.Close()
	if got, err := io.ReadAll(client); len(got) != 0 || err != nil {
		t.Errorf("the client got %q (%v)", got, err)
	}
	if got := <-closed; got.Read != 5 || got.Written != 3 || got.Err != nil || got.Duration <= 0 {
		t.Errorf("closed %+v", got)
	}
}

// TestSlowReader ends a connection properly while its client has most of it still
// to read: what is on its way must arrive, though the client's socket was one to
// be reset.
func TestSlowReader(t *testing.T) {
	target := listen(t)
	closed := make(chan Connection, 1)
	address := serve(t, &Forwarder{Dial: dialTo(target), OnClose: func(c Connection) { closed <- c }})
	client := connect(t, address)
	if err := client.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	upstream := accept(t, target)
	say(t, client, "all, please")
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(upstream); err != nil {
		t.Fatal(err)
	}
	all := strings.Repeat("x", 100<<10)
	say(t, upstream, all)
	_ = upstream.Close()
	if c := <-closed; c.Err != nil {
		t.Fatalf("the connection ended with %v", c.Err)
	}
	if got, err := io.ReadAll(client); err != nil || string(got) != all {
		t.Errorf("the client got %d of %d bytes (%v)", len(got), len(all), err)
	}
}

func TestMaxConnections(t *testing.T) {
	target := listen(t)
	logger, logs := observe()
	f := &Forwarder{Dial: dialTo(target), MaxConnections: 2, Logger: logger}
	address := serve(t, f)
	first := connect(t, address)
	firstTarget := accept(t, target)
	connect(t, address)
	accept(t, target)

	for range 3 {
		if err := refusedAt(t, address); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("one too many got %v", err)
		}
	}
	if warned := logs.FilterMessage("too many connections; refusing more").FilterLevelExact(zap.WarnLevel).All(); len(warned) != 1 || warned[0].ContextMap()["max_connections"] != int64(2) {
		t.Errorf("logged %v", logs.All())
	}

	_, _ = first.Close(), firstTarget.Close()
	sshtest.Eventually(t, 5*time.Second, "there is room again", func() bool {
		f.own.mu.Lock()
		defer f.own.mu.Unlock()
		return f.own.open == 1
	})
	third := connect(t, address)
	c := accept(t, target)
	say(t, third, "hello")
	hear(t, c, "hello")
}

// TestFailuresLogged: clients that come without end while the target is away do
// not fill the log with errors.
func TestFailuresLogged(t *testing.T) {
	logger, logs := observe()
	address := serve(t, &Forwarder{Logger: logger, Dial: func(context.Context, net.Conn) (net.Conn, error) {
		return nil, errors.New("no such target")
	}})
	const clients = 200
	for range clients {
		if err := refusedAt(t, address); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("a client got %v", err)
		}
	}
	sshtest.Eventually(t, 5*time.Second, "an entry for each", func() bool {
		return logs.FilterMessage("dialing target failed").Len() == clients
	})
	if errs := logs.FilterLevelExact(zap.ErrorLevel).Len(); errs != failuresLogged {
		t.Errorf("%d errors in the log for %d clients, want %d", errs, clients, failuresLogged)
	}
}

// TestSharedCount: one forwarder's connections count for the other.
func TestSharedCount(t *testing.T) {
	target := listen(t)
	count := new(Count)
	one := serve(t, &Forwarder{Dial: dialTo(target), Count: count})
	other := serve(t, &Forwarder{Dial: dialTo(target), MaxConnections: 1, Count: count})
	connect(t, one)
	accept(t, target)
	if err := refusedAt(t, other); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one too many got %v", err)
	}
}

// TestIdleTimeout: both sides of an idle connection see that it was cut.
func TestIdleTimeout(t *testing.T) {
	const timeout = 300 * time.Millisecond
	target := listen(t)
	closed := make(chan Connection, 1)
	address := serve(t, &Forwarder{Dial: dialTo(target), IdleTimeout: timeout, OnClose: func(c Connection) { closed <- c }})
	client := connect(t, address)
	upstream := accept(t, target)

	for name, conn := range map[string]net.Conn{"client": client, "target": upstream} {
		if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the %s got %v", name, err)
		}
	}
	if got := <-closed; got.Err == nil || got.Err.Error() != "idle for 300ms" {
		t.Errorf("closed with %v", got.Err)
	}
}

// TestIdleTimeoutTraffic: traffic one way keeps a connection.
func TestIdleTimeoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = time.Minute
		client, a := net.Pipe()
		b, upstream := net.Pipe()
		ended := make(chan error, 1)
		go func() {
			_, _, err := pipeBoth(a, b, timeout)
			ended <- err
		}()
		start := time.Now()
		for range 10 {
			time.Sleep(timeout * 9 / 10)
			say(t, upstream, "x")
			hear(t, client, "x")
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "idle for 1m") {
			t.Errorf("it ended with %v", err)
		}
		if took := time.Since(start); took != 10*timeout {
			t.Errorf("it ended after %s", took)
		}
		_ = client.Close()
		_ = upstream.Close()
	})
}

// TestIdleTimeoutSlowReader: a large write to a reader that takes its time is
// not idle.
func TestIdleTimeoutSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout, size = time.Minute, 1 << 20
		sender, a := net.Pipe()
		b, reader := net.Pipe()
		ended := make(chan error)
		go func() {
			_, _, err := pipeBoth(a, b, timeout)
			ended <- err
		}()
		go func() {
			_, _ = sender.Write(make([]byte, size))
			_ = sender.Close()
		}()
		got, buf := 0, make([]byte, idleWriteSize)
		for got < size {
			time.Sleep(timeout * 9 / 10)
			n, err := io.ReadFull(reader, buf)
			got += n
			if err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
		}
		_ = reader.Close()
		if err := <-ended; err != nil && strings.Contains(err.Error(), "idle") {
			t.Error(err)
		}
	})
}

func TestProxyProtocol(t *testing.T) {
	target := listen(t)
	address := serve(t, &Forwarder{Dial: dialTo(target), ProxyProtocol: "v1"})
	client := connect(t, address)
	from, to := client.LocalAddr().(*net.TCPAddr), client.RemoteAddr().(*net.TCPAddr)
	hear(t, accept(t, target), strings.Join([]string{
		"PROXY TCP4 127.0.0.1 127.0.0.1", strconv.Itoa(from.Port), strconv.Itoa(to.Port),
	}, " ")+"\r\n")
}

func TestDialTimeout(t *testing.T) {
	logger, logs := observe()
	address := serve(t, &Forwarder{
		Dial: func(ctx context.Context, _ net.Conn) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
		DialTimeout: 50 * time.Millisecond,
		Target:      "web:80",
		Logger:      logger,
	})
	if err := refusedAt(t, address); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client got %v", err)
	}
	failed := logs.FilterMessage("dialing target failed").All()
	if len(failed) != 1 || failed[0].ContextMap()["error"] != "no answer within 50ms" || failed[0].ContextMap()["target"] != "web:80" {
		t.Errorf("logged %v", logs.All())
	}
}

// TestTold: a client that gets the reason gets all of it, whatever it still sends.
func TestTold(t *testing.T) {
	logger, logs := observe()
	address := serve(t, &Forwarder{
		Dial: func(_ context.Context, client net.Conn) (net.Conn, error) {
			_, _ = io.WriteString(client, "no")
			return nil, &ToldError{errors.New("because")}
		},
		Logger: logger,
	})
	client := connect(t, address)
	say(t, client, strings.Repeat("x", 1000))
	if got, err := io.ReadAll(client); string(got) != "no" || err != nil {
		t.Errorf("got %q (%v)", got, err)
	}
	if refused := logs.FilterMessage("client refused").All(); len(refused) != 1 || refused[0].Level != zap.DebugLevel {
		t.Errorf("logged %v", logs.All())
	}
}

// TestTrack: what is tracked can be ended, and says when it has.
func TestTrack(t *testing.T) {
	target := listen(t)
	tracked, done := make(chan io.Closer, 1), make(chan struct{})
	address := serve(t, &Forwarder{Dial: dialTo(target), Track: func(conn io.Closer) func() {
		tracked <- conn
		return func() { close(done) }
	}})
	client := connect(t, address)
	upstream := accept(t, target)
	_ = (<-tracked).Close()
	<-done
	for _, conn := range []net.Conn{client, upstream} {
		_ = conn.SetReadDeadline(time.Now().Add(sshtest.Patience))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("still open (%v)", err)
		}
	}
}

// failingListener fails a few times before it accepts.
type failingListener struct {
	net.Listener
	failures atomic.Int32
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, os.NewSyscallError("accept4", syscall.EMFILE)
	}
	return l.Listener.Accept()
}

// TestServeErrors: errors pass, and are logged once.
func TestServeErrors(t *testing.T) {
	target := listen(t)
	logger, logs := observe()
	ln := &failingListener{Listener: listen(t)}
	ln.failures.Store(4)
	f := &Forwarder{Dial: dialTo(target), Logger: logger}
	served := make(chan error)
	go func() { served <- f.Serve(ln) }()

	client := connect(t, ln.Addr().String())
	say(t, client, "hello")
	hear(t, accept(t, target), "hello")
	if n := logs.FilterMessage("accepting connections failed; will retry").Len(); n != 1 {
		t.Errorf("logged %v", logs.All())
	}
	_ = ln.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve returned %v", err)
	}
}
