//go:build unix

package pool

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connect"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// probeInterval is the server_alive_interval of these tests, and stayIntervals for
// how many of them a connection must stay. patientProbes is server_alive_count_max
// for a server that answers late, on a machine that does much at once.
const (
	probeInterval = time.Second
	stayIntervals = 8
	patientProbes = 6
)

// TestProbesThatAreAnsweredOtherwise: servers treat keepalives in their own ways.
// Wherever ssh stays connected and serves, so do we; and where a keepalive gets no
// answer at all.
func TestProbesThatAreAnsweredOtherwise(t *testing.T) {
	for _, reply := range []sshtest.KeepaliveReply{
		sshtest.KeepaliveFailure, sshtest.KeepaliveUnimplemented, sshtest.KeepaliveIgnore,
		sshtest.KeepaliveIgnoreAll, sshtest.KeepaliveAccept, sshtest.KeepaliveLate,
	} {
		for _, interval := range []time.Duration{probeInterval, 0} {
			if interval == 0 && (reply == sshtest.KeepaliveAccept || reply == sshtest.KeepaliveFailure) {
				continue // nobody asks these anything
			}
			t.Run(fmt.Sprintf("%s, interval %v", reply, interval), func(t *testing.T) {
				t.Parallel()
				p := sshtest.StartParamiko(t, sshtest.ParamikoOptions{Reply: reply})
				set := quick()
				set.ServerAliveInterval, set.ServerAliveCountMax, set.MaxConnections = interval, patientProbes, 1
				h := open(t, paramikoConfig(t, p), set)
				idle := mustDial(t, h, listen(t, echo))
				roundTrip(t, idle)
				since := time.Now()
				serves(t, h)

				var client *sshClient
				if reply != sshtest.KeepaliveIgnore && reply != sshtest.KeepaliveIgnoreAll { // ssh gives that one up
					client = startClient(t, p)
				}
				staysUp(t, h, since)
				roundTrip(t, idle)
				serves(t, h)
				logins := 1
				if client != nil {
					logins++
					client.mustServe(t)
				}
				if n := p.Logins(); n != logins {
					t.Errorf("%d logins, want %d", n, logins)
				}
			})
		}
	}
}

// TestProbesOfTinySSH: it forwards nothing and answers each global request with
// SSH_MSG_UNIMPLEMENTED. ssh stays connected to it.
func TestProbesOfTinySSH(t *testing.T) {
	for _, interval := range []time.Duration{probeInterval, 0} {
		t.Run(fmt.Sprint("interval ", interval), func(t *testing.T) {
			t.Parallel()
			d := sshtest.StartTinySSH(t)
			cfg := configFor(t, d.ClientKey, d.HostKey.Fingerprint(), d.Addr())
			cfg.User = d.User
			set := quick()
			set.ServerAliveInterval, set.ServerAliveCountMax = interval, patientProbes
			h := open(t, cfg, set)
			addr := listen(t, echo)
			refused := func() {
				t.Helper()
				_, err := dialFor(t, h, addr, sshtest.Patience)
				if e, ok := errors.AsType[*failure.OpenError](err); !ok || e.Reason != failure.OpenProhibited {
					t.Errorf("a dial: %v", err)
				}
			}
			refused()
			staysUp(t, h, time.Now())
			refused()
			if n := d.Logins(); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// TestProbesThatStopBeingAnswered: a server that has answered, and then answers
// nothing any more, is lost after server_alive_interval × server_alive_count_max.
func TestProbesThatStopBeingAnswered(t *testing.T) {
	t.Parallel()
	p := sshtest.StartParamiko(t, sshtest.ParamikoOptions{Reply: sshtest.KeepaliveOnce})
	set := quick()
	set.ServerAliveInterval, set.ServerAliveCountMax = probeInterval, 3
	since := time.Now()
	h := open(t, paramikoConfig(t, p), set)
	idle := mustDial(t, h, listen(t, echo))
	sshtest.Eventually(t, sshtest.Patience, "the server is dead", p.Dead)
	_ = idle.SetReadDeadline(time.Now().Add(sshtest.Patience))
	_, err := idle.Read(make([]byte, 1))
	wantLost(t, err)
	if after := time.Since(since); after < 3*probeInterval {
		t.Errorf("lost after %v, want %v at least", after, 3*probeInterval)
	}
	mustDial(t, h, listen(t, echo)) // The tunnel is back, until the second probe.
}

// TestForwardWithoutAnswers: a server that does not answer keepalives listens for
// remote forwards all the same.
func TestForwardWithoutAnswers(t *testing.T) {
	for _, reply := range []sshtest.KeepaliveReply{sshtest.KeepaliveIgnore, sshtest.KeepaliveIgnoreAll, sshtest.KeepaliveLate, sshtest.KeepaliveUnimplemented} {
		t.Run(string(reply), func(t *testing.T) {
			t.Parallel()
			p := sshtest.StartParamiko(t, sshtest.ParamikoOptions{Reply: reply})
			set := quick()
			// Probes that are late are not to end it.
			set.ServerAliveInterval, set.ServerAliveCountMax = probeInterval/10, 100
			h := open(t, paramikoConfig(t, p), set)
			roundTrip(t, mustDial(t, h, listen(t, echo)))
			since := time.Now()
			sshtest.Eventually(t, 5*time.Second, "ten probes would have been sent", func() bool { return time.Since(since) > probeInterval })

			addr := freeAddr(t)
			l, err := h.Listen(onlyConfiguration{}, "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						_, _ = io.Copy(c, c)
					}()
				}
			}()
			sshtest.Eventually(t, 5*time.Second, "the server listens", func() bool {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					return false
				}
				defer c.Close()
				roundTrip(t, c)
				return true
			})
			if n := p.Logins(); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

func paramikoConfig(t *testing.T, p *sshtest.Paramiko) connect.Config {
	t.Helper()
	cfg := configFor(t, p.ClientKey, p.HostKey.Fingerprint(), p.Addr())
	cfg.User = p.User
	return cfg
}

// staysUp waits until stayIntervals have passed since a moment, and fails the test
// if the tunnel has lost its connection meanwhile.
func staysUp(t *testing.T, h *Pool, since time.Time) {
	t.Helper()
	sshtest.Eventually(t, stayIntervals*probeInterval+5*time.Second, "the intervals pass", func() bool {
		if s := h.Status(); s.State != report.StateUp || s.LastError != nil {
			t.Fatalf("%s after %v: %+v", s.State, time.Since(since), s.LastError)
		}
		return time.Since(since) >= stayIntervals*probeInterval
	})
}

// serves fails the test unless channels open, a response that ends with its
// connection comes whole, and a half-close is one.
func serves(t *testing.T, h *Pool) {
	t.Helper()
	const size = 300_000
	addr := listen(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
		_, _ = io.CopyN(c, sshtest.Body(), size)
	})
	for range 3 {
		c := mustDial(t, h, addr)
		_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
		got, err := io.ReadAll(c)
		head, body, _ := strings.Cut(string(got), "\r\n\r\n")
		want, _ := io.ReadAll(io.LimitReader(sshtest.Body(), size))
		if err != nil || !strings.HasPrefix(head, "HTTP/1.0 "+fmt.Sprint(http.StatusOK)) || body != string(want) {
			t.Errorf("a response that ends with its connection: %d bytes of %d, %v", len(body), size, err)
		}
		_ = c.Close()
	}

	c := mustDial(t, h, listen(t, func(c net.Conn) {
		got, _ := io.ReadAll(c)
		_, _ = fmt.Fprintf(c, "got %s", got)
	}))
	_ = c.SetDeadline(time.Now().Add(sshtest.Patience))
	_, _ = io.WriteString(c, "hello")
	if err := c.CloseWrite(); err != nil {
		t.Errorf("half-close: %v", err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "got hello" {
		t.Errorf("after a half-close: %q, %v", got, err)
	}
}

// sshClient is an ssh -N -L to an echo server, for comparison.
type sshClient struct {
	*sshtest.Process
	addr string
}

// startClient starts ssh and waits until it forwards. It is killed at the test's
// end.
func startClient(t *testing.T, p *sshtest.Paramiko) *sshClient {
	t.Helper()
	path := sshtest.Program(t, "ssh")
	addr := freeAddr(t)
	cmd := exec.Command(path, "-F", "none", "-N", "-i", p.ClientKeyFile(), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "UserKnownHostsFile="+p.KnownHostsFile(), "-o", "ExitOnForwardFailure=yes",
		"-o", fmt.Sprint("ServerAliveInterval=", int(probeInterval.Seconds())),
		"-L", addr+":"+listen(t, echo), "-p", fmt.Sprint(p.Port), p.User+"@"+p.Host)
	ssh := sshtest.NewProcess(t, cmd)
	ssh.WaitListening(t, "tcp", addr)
	return &sshClient{ssh, addr}
}

// mustServe fails the test unless ssh still forwards.
func (c *sshClient) mustServe(t *testing.T) {
	t.Helper()
	if !c.Running() {
		t.Fatal("ssh has ended")
	}
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		t.Fatalf("ssh: %v", err)
	}
	defer conn.Close()
	roundTrip(t, conn)
}

// TestStallWithoutAnswers: a connection to a server that never answers a probe takes
// channels again once the server has said anything.
func TestStallWithoutAnswers(t *testing.T) {
	t.Parallel()
	p := sshtest.StartParamiko(t, sshtest.ParamikoOptions{Reply: sshtest.KeepaliveIgnoreAll})
	set := quick()
	set.ServerAliveInterval = probeInterval
	h := open(t, paramikoConfig(t, p), set)
	answer := make(chan struct{})
	c := mustDial(t, h, listen(t, func(c net.Conn) {
		<-answer
		_, _ = io.WriteString(c, "late")
		_, _ = io.Copy(io.Discard, c)
	}))
	if _, err := io.WriteString(c, "a question"); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "the stall", func() bool { return stalled(h) })
	close(answer)
	_ = c.SetReadDeadline(time.Now().Add(sshtest.Patience))
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	sshtest.Eventually(t, 10*time.Second, "the end of the stall", func() bool { return !stalled(h) })
	serves(t, h)
}

// stalled reports whether one of a tunnel's connections is.
func stalled(h *Pool) bool {
	return slices.ContainsFunc(h.Status().Connections, func(c report.ConnectionStatus) bool { return c.Stalled && c.Class != report.ClassDraining })
}
