package tunnel

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunneltest"
)

// malice_test.go has bastions that mean harm. Whatever one does, this process
// keeps its memory, its log and its other tunnels.

const (
	// maliceMemory is how much more live heap there may be than before.
	maliceMemory = 48 << 20
	// maliceLine is how long a log pool may be, and an error.
	maliceLine = 3000
)

// nasty is a text that would do things to a terminal and forge lines of a log.
const nasty = "\x1b[2J\x1b]0;owned\x07\r\n2026/01/01 INFO all is well \u009b31m\u202e\x00"

// attack is what a hostile bastion does.
type attack struct {
	name   string
	script sshtest.Script
	// enough is how much harm has to be done, as the script counts it.
	enough int64
	// dials says that a client dials all the while.
	dials bool
	// log is what the log has to say of it, "" for nothing.
	log string
	// change changes how the tunnel is set up.
	change func(*Config, *Settings)
}

func withPassword(cfg *Config, _ *Settings) { cfg.Password = "hunter2" }

func shortConnect(_ *Config, set *Settings) { set.ConnectTimeout = 500 * time.Millisecond }

func shortAlive(_ *Config, set *Settings) {
	set.ServerAliveInterval, set.ServerAliveCountMax = 100*time.Millisecond, 2
}

// repeat sends a message until the connection has ended.
func repeat(c *sshtest.MaliceConn, message func(i uint32) any) {
	for i := uint32(0); c.Send(message(i)) == nil; i++ {
		c.Did(1)
	}
}

// opened is a script that begins when the client has opened a channel.
func opened(then func(c *sshtest.MaliceConn, id uint32)) sshtest.Script {
	return loggedIn(func(c *sshtest.MaliceConn) {
		if id, err := c.AwaitOpen(); err == nil {
			then(c, id)
		}
	})
}

// asked is a script that begins when the client is to authenticate.
func asked(then sshtest.Script) sshtest.Script {
	return func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") != nil || c.Exchange(sshtest.Offer{}) != nil {
			return
		}
		if _, err := c.Request(); err == nil {
			then(c)
		}
	}
}

// prompts are those of a keyboard-interactive dialogue, packed.
func prompts(n int, text string) sshtest.InfoRequest {
	one := ssh.Marshal(struct {
		Prompt string
		Echo   bool
	}{text, false})
	return sshtest.InfoRequest{Name: nasty, Instruction: nasty, Count: uint32(n), Prompts: []byte(strings.Repeat(string(one), n))}
}

// wantedChannel is the payload of the open of a forward, asked for by nobody.
func wantedChannel() []byte { return tunneltest.ForwardedTCPIP("0.0.0.0", 80, "192.0.2.1", 4711) }

// unasked are channels that nobody has asked for.
var unasked = []string{
	"forwarded-tcpip", "forwarded-streamlocal@openssh.com", "x11", "auth-agent@openssh.com", "session", "direct-tcpip", nasty,
}

var attacks = []attack{
	{name: "opens channels without end", enough: 20_000, log: "refused a channel that the bastion opened unasked", script: loggedIn(func(c *sshtest.MaliceConn) {
		go c.Listen(false)
		repeat(c, func(i uint32) any {
			return sshtest.OpenChannel{Type: unasked[i%uint32(len(unasked))], Ours: i, Window: 1 << 21, MaxPacket: 1 << 15, Data: wantedChannel()}
		})
	})},
	{name: "opens channels and hears no answer", enough: 100, log: "connection lost", change: shortAlive, script: loggedIn(func(c *sshtest.MaliceConn) {
		repeat(c, func(i uint32) any { return sshtest.OpenChannel{Type: "x11", Ours: i, MaxPacket: 1 << 15} })
	})},
	{name: "asks without end", enough: 50_000, script: loggedIn(func(c *sshtest.MaliceConn) {
		go c.Listen(false)
		repeat(c, func(i uint32) any {
			return sshtest.GlobalRequest{Name: "hostkeys-00@openssh.com", WantReply: i%2 == 0, Data: make([]byte, 1000)}
		})
	})},
	{name: "asks and hears no answer", enough: 100, log: "connection lost", change: shortAlive, script: loggedIn(func(c *sshtest.MaliceConn) {
		repeat(c, func(uint32) any { return sshtest.GlobalRequest{Name: "keepalive@openssh.com", WantReply: true} })
	})},
	{name: "asks a channel without end", enough: 20_000, dials: true, script: opened(func(c *sshtest.MaliceConn, id uint32) {
		go c.Listen(true)
		repeat(c, func(i uint32) any {
			return sshtest.ChannelRequest{Theirs: id, Name: "exit-signal", WantReply: i%2 == 0}
		})
	})},
	{name: "answers what nobody asked", enough: 20_000, dials: true, script: opened(func(c *sshtest.MaliceConn, id uint32) {
		go c.Listen(true)
		for i := 0; ; i++ {
			if c.Send(sshtest.ChannelSuccess{Theirs: id}) != nil || c.SendPacket([]byte{81, 0, 0, 0}) != nil || c.SendPacket([]byte{82}) != nil {
				return
			}
			c.Did(3)
		}
	})},
	{name: "adjusts windows without end", enough: 50_000, dials: true, script: opened(func(c *sshtest.MaliceConn, id uint32) {
		go c.Listen(true)
		repeat(c, func(i uint32) any { return sshtest.WindowAdjust{Theirs: id, Bytes: i % 2} })
	})},
	{name: "overflows a window", enough: 2, dials: true, log: "invalid window update", script: opened(func(c *sshtest.MaliceConn, id uint32) {
		repeat(c, func(uint32) any { return sshtest.WindowAdjust{Theirs: id, Bytes: 1<<32 - 1} })
	})},
	{name: "sends empty data without end", enough: 50_000, dials: true, script: opened(func(c *sshtest.MaliceConn, id uint32) {
		go c.Listen(true)
		repeat(c, func(uint32) any { return sshtest.ChannelData{Theirs: id} })
	})},
	{name: "sends giant data", enough: 1, dials: true, log: "connection lost", script: opened(func(c *sshtest.MaliceConn, id uint32) {
		repeat(c, func(uint32) any { return sshtest.ChannelData{Theirs: id, Data: strings.Repeat("x", 200<<10)} })
	})},
	{name: "sends a giant packet", enough: 1, log: "connection lost", script: loggedIn(func(c *sshtest.MaliceConn) {
		repeat(c, func(uint32) any { return sshtest.Ignore{Data: strings.Repeat("x", 700<<10)} })
	})},
	{name: "sends more than the window", enough: 1, dials: true, log: "remote side wrote too much", script: opened(func(c *sshtest.MaliceConn, id uint32) {
		repeat(c, func(uint32) any { return sshtest.ChannelData{Theirs: id, Data: strings.Repeat("x", 32<<10)} })
	})},
	{name: "sends after the end", enough: 100, dials: true, log: "connection lost", script: opened(func(c *sshtest.MaliceConn, id uint32) {
		go c.Listen(true)
		_ = c.Send(sshtest.ChannelEOF{Theirs: id})
		for range 100 {
			_ = c.Send(sshtest.ChannelData{Theirs: id, Data: "more"})
			c.Did(1)
		}
		_ = c.Send(sshtest.ChannelClose{Theirs: id})
		repeat(c, func(uint32) any { return sshtest.ChannelData{Theirs: id, Data: "and more"} })
	})},
	{name: "uses wrong channel numbers", enough: 1, log: "invalid channel 4242", script: loggedIn(func(c *sshtest.MaliceConn) {
		repeat(c, func(uint32) any { return sshtest.ChannelData{Theirs: 4242, Data: "x"} })
	})},
	{name: "sends lines without end", enough: 20, log: "instead of an SSH banner", script: func(c *sshtest.MaliceConn) {
		for {
			if _, err := c.Write([]byte(nasty + "\r\n")); err != nil {
				return
			}
			c.Did(1)
		}
	}},
	{name: "sends a line without end", enough: 20, log: "instead of an SSH banner", script: func(c *sshtest.MaliceConn) {
		for {
			if _, err := c.Write([]byte(strings.Repeat("x", 1000))); err != nil {
				return
			}
			c.Did(1)
		}
	}},
	{name: "stops after its version", enough: 3, log: "connect_timeout", change: shortConnect, script: func(c *sshtest.MaliceConn) {
		_ = c.Greet("SSH-2.0-malice")
		c.Did(1)
		c.Await(time.Minute)
	}},
	{name: "stops in the key exchange", enough: 3, log: "connect_timeout", change: shortConnect, script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") == nil {
			_ = c.Exchange(sshtest.Offer{Half: true})
		}
		c.Did(1)
		c.Await(time.Minute)
	}},
	{name: "stops in the authentication", enough: 3, log: "connect_timeout", change: shortConnect, script: asked(func(c *sshtest.MaliceConn) {
		c.Did(1)
		c.Await(time.Minute)
	})},
	{name: "stops in the second key exchange", enough: 2, log: "connection stalled: the bastion does not respond", change: shortAlive, dials: true, script: loggedIn(func(c *sshtest.MaliceConn) {
		_ = c.Exchange(sshtest.Offer{Half: true})
		c.Did(1)
		c.Await(time.Minute)
	})},
	{name: "breaks strict key exchange", enough: 3, log: "in the key exchange", script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") == nil {
			_ = c.Exchange(sshtest.Offer{Strict: true, Intrude: true})
			c.Did(1)
			c.Await(time.Minute)
		}
	}},
	{name: "shows another host key", enough: 1, log: "mismatch", script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-malice") == nil {
			_ = c.Exchange(sshtest.Offer{HostKey: sshtest.NewKey()})
			c.Did(1)
		}
	}},
	{name: "shows another host key later", enough: 1, log: "has changed within the connection", script: loggedIn(func(c *sshtest.MaliceConn) {
		if c.Exchange(sshtest.Offer{}) != nil { // the same once more is no harm
			return
		}
		_ = c.Exchange(sshtest.Offer{HostKey: sshtest.NewKey()})
		c.Did(1)
		c.Await(time.Minute)
	})},
	{name: "has thousands of questions", enough: 1, log: "authentication as", change: withPassword, script: asked(func(c *sshtest.MaliceConn) {
		if c.Refuse("keyboard-interactive") == nil {
			_ = c.Send(prompts(4000, nasty+"?"))
			c.Did(1)
			c.Await(time.Minute)
		}
	})},
	{name: "has a question of great length", enough: 1, log: "authentication as", change: withPassword, script: asked(func(c *sshtest.MaliceConn) {
		if c.Refuse("keyboard-interactive") == nil {
			_ = c.Send(prompts(1, strings.Repeat("Verification code "+nasty, 4000)))
			c.Did(1)
			c.Await(time.Minute)
		}
	})},
	{name: "has a dialogue without end", enough: 20, log: "went on for more than 20 rounds", change: withPassword, script: asked(func(c *sshtest.MaliceConn) {
		if c.Refuse("keyboard-interactive") == nil {
			go c.Listen(false)
			repeat(c, func(uint32) any { return prompts(0, "") })
		}
	})},
	{name: "takes methods of great length", enough: 1, log: "authentication as", script: asked(func(c *sshtest.MaliceConn) {
		methods := make([]string, 5000)
		for i := range methods {
			methods[i] = fmt.Sprintf("method%d%s", i, strings.ReplaceAll(nasty, ",", ""))
		}
		_ = c.Refuse(methods...)
		c.Did(1)
	})},
	{name: "shows a giant banner", enough: 3, log: "authentication", script: asked(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.Banner{Message: strings.Repeat(nasty, 4000)})
		_ = c.Refuse("hostbased")
		c.Did(1)
	})},
	{name: "shows banners without end", enough: 100, log: "in the authentication", script: asked(func(c *sshtest.MaliceConn) {
		repeat(c, func(uint32) any { return sshtest.Banner{Message: nasty} })
	})},
	{name: "shows banners without end later", enough: 100, log: "in the authentication: it sent more than 4 MiB", script: asked(func(c *sshtest.MaliceConn) {
		if c.Refuse("publickey") == nil {
			repeat(c, func(uint32) any { return sshtest.Banner{Message: strings.Repeat(nasty, 1000)} })
		}
	})},
	{name: "says a long goodbye", enough: 1, log: "disconnect", script: loggedIn(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.Disconnect{Reason: 2, Message: strings.Repeat(nasty, 4000)})
		c.Did(1)
		c.Await(time.Minute)
	})},
	{name: "says a long goodbye early", enough: 1, log: "disconnect", script: asked(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.Disconnect{Reason: 2, Message: strings.Repeat(nasty, 4000)})
		c.Did(1)
		c.Await(time.Minute)
	})},
	{name: "has never the same excuse", enough: 100, log: "disconnect", change: func(_ *Config, set *Settings) { set.ReconnectMax = set.ReconnectMin }, script: asked(func(c *sshtest.MaliceConn) {
		_ = c.Send(sshtest.Disconnect{Reason: 2, Message: strings.Repeat("x", c.Number())})
		c.Did(1)
		c.Await(time.Minute)
	})},
	{name: "has a version that writes", enough: 1, log: "connected", script: func(c *sshtest.MaliceConn) {
		if c.Greet("SSH-2.0-"+strings.NewReplacer("\n", "", "\r", "").Replace(nasty)) == nil && c.Exchange(sshtest.Offer{}) == nil && c.Admit() == nil {
			c.Did(1)
			c.Listen(true)
		}
	}},
	{name: "refuses channels with a text that writes", enough: 1, dials: true, script: loggedIn(func(c *sshtest.MaliceConn) {
		for {
			packet, err := c.Next(90)
			if err != nil {
				return
			}
			var open struct {
				Type string `sshtype:"90"`
				ID   uint32
				Rest []byte `ssh:"rest"`
			}
			if ssh.Unmarshal(packet, &open) != nil || c.Send(sshtest.ChannelFailure{Theirs: open.ID, Reason: 2, Message: strings.Repeat(nasty, 4000)}) != nil {
				return
			}
			c.Did(1)
		}
	})},
}

// TestMalice attacks this process, which has to end all that an attack begins:
// see TestMain.
func TestMalice(t *testing.T) {
	sshtest.Takes(t, time.Minute)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) { withstand(t, a) })
	}
}

// withstand has a bastion attack us, and then turn good.
func withstand(t *testing.T, a attack) {
	addr := listen(t, echo)
	neighbour := newBench(t, quick(), nil)
	stream := mustDial(t, neighbour.Handle, addr)
	key, hostKey := sshtest.NewKey(), sshtest.NewKey()
	good := bastionFor(t, key, func(o *sshtest.BastionOptions) { o.HostKeys = []ssh.Signer{hostKey} })
	before := liveHeap()

	m := sshtest.NewMalice(t, hostKey, good.Addr(), a.script)
	cfg, set := configFor(t, key, hostKey.Fingerprint(), m.Addr()), quick()
	logs := observed(&set)
	if a.change != nil {
		a.change(&cfg, &set)
	}
	h := open(t, cfg, set)

	end := time.Now().Add(60 * time.Second)
	for m.Done() < a.enough || a.log != "" && !says(logs, a.log) {
		if time.Now().After(end) {
			t.Fatalf("harm done: %d of %d; logged: %v", m.Done(), a.enough, logs.All())
		}
		if a.dials {
			if c, err := dialFor(t, h, addr, 200*time.Millisecond); err != nil {
				checkText(t, "an error", err.Error())
			} else {
				defer c.Close()
			}
		}
		roundTrip(t, stream) // within 10 s, or it fails
		time.Sleep(5 * time.Millisecond)
	}
	if grown := liveHeap() - before; grown > maliceMemory {
		t.Errorf("%d MiB more live heap than before", grown>>20)
	}
	roundTrip(t, mustDial(t, neighbour.Handle, addr))
	checkLogs(t, logs, m.Connections())

	m.Reform()
	// As a person may: a bastion that has refused us is not asked again for long.
	sshtest.Eventually(t, 30*time.Second, "a connection to the reformed bastion", func() bool {
		_ = h.Reconnect()
		c, err := dialFor(t, h, addr, time.Second)
		if err != nil {
			return false
		}
		defer c.Close()
		roundTrip(t, c)
		return true
	})
}

// liveHeap is what is in use after a collection, in bytes.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// textOf is all that a pool says.
func textOf(e observer.LoggedEntry) string { return fmt.Sprint(e.Message, " ", e.ContextMap()) }

func says(logs *observer.ObservedLogs, text string) bool {
	for _, e := range logs.All() {
		if strings.Contains(textOf(e), text) {
			return true
		}
	}
	return false
}

// checkLogs checks how much is logged: a few pools for each connection and for
// what was done on it, and hardly more above debug.
func checkLogs(t *testing.T, logs *observer.ObservedLogs, connections int) {
	t.Helper()
	told := 0
	for _, e := range logs.All() {
		checkText(t, "an entry", textOf(e))
		if e.Level > zapcore.DebugLevel {
			told++
		}
	}
	if n, limit := logs.Len(), 200+10*connections; n > limit && connections < 100 {
		t.Errorf("%d entries for %d connections", n, connections)
	}
	if limit := 50 + 3*min(connections, 50); told > limit {
		t.Errorf("%d entries above debug for %d connections", told, connections)
	}
}

// checkText checks that a text is short, and that it does nothing to a terminal
// or to a log that is read by lines.
func checkText(t *testing.T, what, text string) {
	t.Helper()
	if len(text) > maliceLine {
		t.Fatalf("%s of %d bytes: %.500s", what, len(text), text)
	}
	if i := strings.IndexFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar
	}); i >= 0 {
		t.Fatalf("%s is %q", what, text)
	}
}
