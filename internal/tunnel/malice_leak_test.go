package tunnel

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// malice_leak_test.go has bastions that leave something behind in this process
// with each connection.

// junk is what a client takes for a breach of the protocol, and more behind it
// than x/crypto queues. Its reader then waits for one that is gone.
func junk(first any, size int) []any {
	all := []any{first}
	for range 40 {
		all = append(all, sshtest.GlobalRequest{Name: "x", Data: make([]byte, size)})
	}
	return all
}

// maliceEnv tells a process of TestMaliceLeaks's that it is the one under attack.
const maliceEnv = "TUNNEL_TEST_MALICE"

// maliceLeak is an attack that leaves something behind, if it can.
type maliceLeak struct {
	script sshtest.Script
	// rounds is how often it is tried. If zero, leakRounds.
	rounds int
	// chance says that only the time keeps x/crypto from reading ahead: on a
	// machine that is busy enough it may.
	chance bool
}

// leaks are attacks by their names.
var leaks = map[string]maliceLeak{
	"once logged in": {script: loggedIn(func(c *sshtest.MaliceConn) {
		c.Did(1)
		_ = c.Burst(junk(sshtest.ChannelData{Theirs: 4242, Data: "x"}, 0)...)
		c.Await(time.Minute)
	})},
	"once logged in, with giant packets": {rounds: giantRounds, script: loggedIn(func(c *sshtest.MaliceConn) {
		c.Did(1)
		_ = c.Burst(junk(sshtest.ChannelData{Theirs: 4242, Data: "x"}, 250<<10)...)
		c.Await(time.Minute)
	})},
	"in the authentication": {script: asked(func(c *sshtest.MaliceConn) {
		c.Did(1)
		_ = c.Burst(junk(sshtest.WindowAdjust{}, 0)...)
		c.Await(time.Minute)
	})},
	"in the authentication, with giant packets": {rounds: giantRounds, script: asked(func(c *sshtest.MaliceConn) {
		c.Did(1)
		_ = c.Burst(junk(sshtest.WindowAdjust{}, 250<<10)...)
		c.Await(time.Minute)
	})},
	"before the authentication": {chance: true, script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") == nil && c.Exchange(sshtest.Offer{}) == nil {
			c.Did(1)
			_ = c.Burst(junk(sshtest.WindowAdjust{}, 0)...)
			c.Await(time.Minute)
		}
	}},
	"with the new keys": {chance: true, script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") == nil {
			c.Did(1)
			_ = c.Exchange(sshtest.Offer{Then: func() {
				for _, m := range junk(sshtest.WindowAdjust{}, 0) {
					_ = c.Send(m)
				}
			}})
			c.Await(time.Minute)
		}
	}},
	"with the new keys, and a reset": {chance: true, script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") == nil {
			c.Did(1)
			_ = c.Conn.(*net.TCPConn).SetLinger(0)
			_ = c.Exchange(sshtest.Offer{Then: func() {
				for _, m := range junk(sshtest.WindowAdjust{}, 0) {
					_ = c.Send(m)
				}
			}, Reset: true})
		}
	}},
}

// TestMaliceLeaks has nothing left behind by connections that end in the middle
// of a flood. It counts in a process of its own.
func TestMaliceLeaks(t *testing.T) {
	sshtest.Takes(t, 30*time.Second)
	if os.Getenv(maliceEnv) == "" {
		t.Parallel()
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMaliceLeaks$", "-test.v")
		c.Env = append(os.Environ(), maliceEnv+"=1")
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	for name, leak := range leaks {
		t.Run(name, func(t *testing.T) { leavesNothing(t, leak) })
	}
}

const (
	// leakRounds is how often an attack is tried.
	leakRounds = 30
	// giantRounds is that of one that sends 10 MB, which -race takes seconds for.
	giantRounds = 5
)

func leavesNothing(t *testing.T, leak maliceLeak) {
	key, hostKey := sshtest.NewKey(), sshtest.NewKey()
	before, had := liveHeap(), readers()
	rounds := cmp.Or(leak.rounds, leakRounds)
	for range rounds {
		// Each a tunnel of its own: one that was refused waits for long.
		m := sshtest.NewMalice(t, hostKey, "", leak.script)
		h := Open(configFor(t, key, hostKey.Fingerprint(), m.Addr()), quick(), nil)
		h.Start()
		sshtest.Eventually(t, 10*time.Second, "an attack and its end", func() bool { return m.Done() > 0 && m.Ended() > 0 })
		closeAndWait(t, h)
	}
	end := time.Now().Add(10 * time.Second)
	for readers() > had && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
	left := readers() - had
	grown := liveHeap() - before
	t.Logf("%d attacks: %d goroutines and %d KiB are left", rounds, left, grown>>10)
	if left > 0 && (!leak.chance || left > rounds/3) {
		t.Errorf("%d of %d attacks have left a reader", left, rounds)
	}
}

// readers counts the connections that x/crypto reads from, or would.
func readers() int {
	var text strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&text, 2)
	return strings.Count(text.String(), "x/crypto/ssh.(*handshakeTransport).readLoop(")
}
