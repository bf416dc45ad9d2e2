package tunnel

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// warnings returns the warnings of a refused forward.
func warnings(logs *observer.ObservedLogs) []observer.LoggedEntry {
	return logs.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("refuses a remote forward").All()
}

// TestListenPortHeld: a port that is still held is asked for until it is free,
// with one warning that says what to do.
func TestListenPortHeld(t *testing.T) {
	sshtest.Takes(t, time.Second)
	set := quick()
	logs := observed(&set)
	b := newBench(t, set, nil)
	b.bastion.Misbehave(sshtest.Faults{RefuseForwards: true})
	addr := freeAddr(t)
	serve(t, listenRemote(t, b.Handle, "tcp", addr), echoBack)
	sshtest.Eventually(t, 10*time.Second, "a warning", func() bool { return len(warnings(logs)) > 0 })
	time.Sleep(300 * time.Millisecond)
	if n := len(warnings(logs)); n != 1 {
		t.Errorf("%d warnings", n)
	}
	if hint := warnings(logs)[0].ContextMap()["hint"].(string); !strings.Contains(hint, "set ClientAliveInterval on the bastion") {
		t.Errorf("hint %q", hint)
	}
	if n := b.bastion.Stats().ForwardRequests; n < 5 || n > 60 {
		t.Errorf("asked %d times", n)
	}
	b.bastion.Misbehave(sshtest.Faults{})
	serving(t, "tcp", addr)
	var established *observer.ObservedLogs
	sshtest.Eventually(t, sshtest.Patience, "a line about the forward in the log", func() bool {
		established = logs.FilterLevelExact(zap.InfoLevel).FilterMessage("remote forward established")
		return established.Len() > 0
	})
	if established.Len() != 1 {
		t.Errorf("%d lines about the forward in the log", established.Len())
	}
}

// TestListenUnanswered: a bastion that answers no request hangs neither the
// listener's Close nor a takeover.
func TestListenUnanswered(t *testing.T) {
	b := newBench(t, quick(), nil)
	c := mustDial(t, b.Handle, listen(t, echo))
	b.bastion.Misbehave(sshtest.Faults{HoldRequests: true})
	addr := freeAddr(t)
	ln := listenRemote(t, b.Handle, "tcp", addr)
	time.Sleep(100 * time.Millisecond)
	within(t, time.Second, "Close", func() { _ = ln.Close() })
	ln = listenRemote(t, b.Handle, "tcp", addr)
	roundTrip(t, c)
	b.bastion.Misbehave(sshtest.Faults{})
	serve(t, ln, echoBack)
	serving(t, "tcp", addr)
	roundTrip(t, c)
}

// replaceNow has a new connection take over.
func replaceNow(t *testing.T, h *Handle) {
	t.Helper()
	before := h.Generation()
	if err := h.Reconnect(); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 5*time.Second, "the new connection", func() bool { return h.Generation() > before })
}

// TestListenUnansweredTakeover: a forward that was not answered, and then
// refused, on one connection does not stay there when another takes over.
func TestListenUnansweredTakeover(t *testing.T) {
	b := newBench(t, quick(), nil)
	roundTrip(t, mustDial(t, b.Handle, listen(t, echo)))
	b.bastion.Misbehave(sshtest.Faults{HoldRequests: true})
	addr := freeAddr(t)
	serve(t, listenRemote(t, b.Handle, "tcp", addr), echoBack)
	time.Sleep(50 * time.Millisecond)
	replaceNow(t, b.Handle)
	b.bastion.Misbehave(sshtest.Faults{RefuseForwards: true})
	sshtest.Eventually(t, 5*time.Second, "the forward to be asked for on both", func() bool { return b.bastion.Stats().ForwardRequests >= 3 })
	b.bastion.Misbehave(sshtest.Faults{})
	serving(t, "tcp", addr)
}

// TestListenTakeover: what comes in on the old connection before the forward
// has left it, and a moment after, is served, though nothing else keeps it.
func TestListenTakeover(t *testing.T) {
	sshtest.Takes(t, 2*time.Second)
	b := newBench(t, quick(), nil)
	addr := freeAddr(t)
	serve(t, listenRemote(t, b.Handle, "tcp", addr), echoBack)
	serving(t, "tcp", addr)
	old := b.bastion.Conns()[0]
	b.bastion.Misbehave(sshtest.Faults{HoldRequests: true})
	replaceNow(t, b.Handle)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("before the forward has left: %v", err)
	}
	roundTrip(t, c) // no more: that it has ended is only known once requests are answered
	b.bastion.Misbehave(sshtest.Faults{})
	_ = c.Close()
	sshtest.Eventually(t, 5*time.Second, "the forward to be asked for again", func() bool { return b.bastion.Stats().ForwardRequests > 1 })
	time.Sleep(remote.Grace / 10)
	n, _ := strconv.ParseUint(port(t, addr), 10, 16)
	ch, requests, err := old.OpenChannel("forwarded-tcpip", tunneltest.ForwardedTCPIP("127.0.0.1", uint32(n), "127.0.0.1", 1))
	if err != nil {
		t.Fatalf("after the forward has left: %v", err)
	}
	go ssh.DiscardRequests(requests)
	_ = ch.Close()
	serving(t, "tcp", addr)
	sshtest.Eventually(t, 5*time.Second, "the end of the old connection", func() bool { return len(b.bastion.Conns()) == 1 })
}

// hammer visits an address from some goroutines until stop is called, which
// returns how many visits there were and the errors.
func hammer(addr string) (stop func() (int, []error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	var visits int
	var errs []error
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := visit("tcp", addr)
				mu.Lock()
				visits++
				if err != nil {
					errs = append(errs, err)
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []error) {
		cancel()
		wg.Wait()
		return visits, errs
	}
}

// TestListenReload: connections are lost neither when a configuration with the
// same listener takes over nor when the old one closes.
func TestListenReload(t *testing.T) {
	key := sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	cfg := configFor(t, key, bastion.HostKeyFingerprint(), bastion.Addr())
	addr := freeAddr(t)
	var last atomic.Int32
	start := func(i int32) (*Handle, *remote.Listener) {
		h := Open(cfg, quick(), nil)
		ln := listenRemote(t, h, "tcp", addr)
		serve(t, ln, func(c net.Conn) {
			last.Store(i)
			echoBack(c)
		})
		h.Start()
		return h, ln
	}
	h, ln := start(0)
	defer func() { closeAndWait(t, h) }()
	serving(t, "tcp", addr)
	stop := hammer(addr)
	for i := range int32(20) {
		newH, newLn := start(i + 1)
		sshtest.Eventually(t, 5*time.Second, "the newest listener to get the connections", func() bool { return last.Load() == i+1 })
		_ = ln.Close()
		h.Close()
		h, ln = newH, newLn
	}
	visits, errs := stop()
	t.Logf("%d visits", visits)
	if len(errs) > 0 {
		t.Errorf("%d of %d visits failed: %v", len(errs), visits, errs[0])
	}
	if s := bastion.Stats(); s.ForwardRequests != 1 || s.Logins != 1 {
		t.Errorf("%d forward requests, %d logins", s.ForwardRequests, s.Logins)
	}
}

// TestListenTakesOverBack: a newer listener that is never started gets nothing,
// and what waits for one that closes goes to the one before.
func TestListenTakesOverBack(t *testing.T) {
	b := newBench(t, quick(), nil)
	addr := freeAddr(t)
	old := listenRemote(t, b.Handle, "tcp", addr)
	serve(t, old, echoBack)
	serving(t, "tcp", addr)

	h := Open(b.cfg, quick(), nil)
	defer h.Close()
	newer := listenRemote(t, h, "tcp", addr)
	serving(t, "tcp", addr)

	h.Start()
	result := make(chan error, 1)
	go func() { result <- visit("tcp", addr) }()
	sshtest.Eventually(t, 5*time.Second, "the connection to wait", func() bool { return newer.Waiting() == 1 })
	_ = newer.Close()
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// TestListenReplacement: while connections are replaced again and again, the
// address is served but for the moments in which nobody can listen on it, and
// what was accepted goes on.
func TestListenReplacement(t *testing.T) {
	sshtest.Takes(t, 4*time.Second)
	set := quick()
	set.RekeyInterval = 700 * time.Millisecond
	var lost atomic.Int32
	b := newBench(t, set, func(opts *sshtest.BastionOptions) {
		opts.Logf = func(format string, _ ...any) {
			if strings.HasPrefix(format, "connection to ") {
				lost.Add(1) // it had accepted, and we would not take it
			}
		}
	})
	addr := freeAddr(t)
	serve(t, listenRemote(t, b.Handle, "tcp", addr), echoBack)
	serving(t, "tcp", addr)
	long, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close()
	before := b.Generation()
	stop := hammer(addr)
	time.Sleep(4 * time.Second)
	roundTrip(t, long)
	_, errs := stop()
	for _, err := range errs {
		// A listener that is closed resets what it has not accepted. After that
		// there is no connection to half-close (ENOTCONN).
		if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("a connection failed: %v", err)
		}
	}
	if b.Generation() == before {
		t.Error("no replacement")
	}
	if n := lost.Load(); n > 0 {
		t.Errorf("%d connections were accepted by the bastion and refused here", n)
	}
	serving(t, "tcp", addr)
	// Those that were replaced end, but for the one with the long connection.
	sshtest.Eventually(t, 10*time.Second, "the old connections' end", func() bool {
		return len(b.Status().Connections) <= 5
	})
}
