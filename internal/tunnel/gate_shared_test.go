package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// gate_shared_test.go has many tunnels fail together, in simulated time.

// doorkeeper is a server that lets in who has its password, and counts the rest. It
// penalises a source as sshd does (PerSourcePenalties) if that is switched on.
type doorkeeper struct {
	key       *sshtest.Key
	config    *ssh.ServerConfig
	password  atomic.Pointer[string]
	penalises bool

	refused, knocks, open atomic.Int32
	// penalty is until when the source is penalised, in nanoseconds. It is in force
	// once it was more than penaltyMin away.
	penalty atomic.Int64
	barred  atomic.Bool
}

const (
	penaltyFor = 5 * time.Second
	penaltyMin = 15 * time.Second
)

func newDoorkeeper(t *testing.T, penalises bool) *doorkeeper {
	t.Helper()
	d := &doorkeeper{key: sshtest.NewKey(), penalises: penalises}
	d.setPassword("right")
	signer, err := ssh.NewSignerFromSigner(d.key.Private())
	if err != nil {
		t.Fatal(err)
	}
	d.config = &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if string(password) == *d.password.Load() {
			return nil, nil //nolint:nilnil // no permissions, no error
		}
		d.refused.Add(1)
		return nil, errors.New("no")
	}}
	d.config.AddHostKey(signer)
	return d
}

func (d *doorkeeper) setPassword(s string) { d.password.Store(&s) }

// isBarred reports whether the source is shut out.
func (d *doorkeeper) isBarred() bool {
	if time.Now().UnixNano() >= d.penalty.Load() {
		d.barred.Store(false)
	}
	return d.barred.Load()
}

func (d *doorkeeper) penalise() {
	from := max(d.penalty.Load(), time.Now().UnixNano())
	until := from + int64(penaltyFor)
	d.penalty.Store(until)
	if until-time.Now().UnixNano() > int64(penaltyMin) {
		d.barred.Store(true)
	}
}

func (d *doorkeeper) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	go func() { // returns when our side is closed
		defer func() { _ = theirs.Close() }()
		if d.penalises && d.isBarred() {
			d.knocks.Add(1)
			go func() { _, _ = io.Copy(io.Discard, theirs) }() // a pipe has no buffer
			_, _ = io.WriteString(theirs, "Not allowed at this time\r\n")
			return
		}
		before := d.refused.Load()
		conn, channels, requests, err := ssh.NewServerConn(theirs, d.config)
		if err != nil {
			if d.refused.Load() > before {
				d.penalise()
			}
			return
		}
		d.open.Add(1)
		defer d.open.Add(-1)
		go ssh.DiscardRequests(requests)
		for c := range channels {
			_ = c.Reject(ssh.Prohibited, "no")
		}
		_ = conn.Close()
	}()
	return ours, nil
}

// tunnel returns the configuration of one with a password.
func (d *doorkeeper) tunnel(t *testing.T, name, password string) Config {
	t.Helper()
	return Config{
		Name: name, Address: t.Name() + ":22", User: "u", Password: password,
		HostKeys: []string{d.key.Fingerprint()}, NoIdentityFiles: true, IdentityAgent: "none", DialContext: d.dial,
	}
}

// start opens tunnels, and closes them when the bubble ends.
func start(configs ...Config) (handles []*Handle, stop func()) {
	for _, cfg := range configs {
		h := Open(cfg, Settings{Linger: -1}, nil)
		h.Start()
		handles = append(handles, h)
	}
	return handles, func() {
		for _, h := range handles {
			h.Close()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	}
}

// ask dials through tunnels each second, and fails if one is not refused at once
// after the first seconds.
func ask(t *testing.T, handles []*Handle, seconds int) {
	t.Helper()
	for range seconds {
		for _, h := range handles {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begin := time.Now()
			_, err := h.Dial(ctx, Target{Network: "tcp", Address: "web:80"})
			cancel()
			if _, ok := errors.AsType[*DownError](err); !ok || time.Since(begin) != 0 {
				t.Errorf("%s: after %s: %v", h.cfg.Name, time.Since(begin), err)
			}
		}
		time.Sleep(time.Second)
	}
}

// TestRefusedTogether: what is refused for one tunnel is refused for all that log
// in with the same credentials, whatever they are called and what else they have
// of their own; and when one of them is let in, all are.
func TestRefusedTogether(t *testing.T) {
	d := newDoorkeeper(t, false)
	bubble(t, func(t *testing.T) {
		var configs []Config
		for i := range 10 {
			cfg := d.tunnel(t, fmt.Sprintf("t%d", i), "wrong")
			if i%2 > 0 {
				cfg.Ciphers = []string{"aes128-gcm@openssh.com"} // of no matter for the password
			}
			configs = append(configs, cfg)
		}
		handles, stop := start(configs...)
		time.Sleep(time.Second / 2)
		if n := d.refused.Load(); n != 1 {
			t.Errorf("%d refused logins at once, want 1", n)
		}
		ask(t, handles, 25)
		if n := d.refused.Load(); n != 4 {
			t.Errorf("%d refused logins in 25 seconds, want 4", n)
		}
		for _, h := range handles {
			if s := h.Status(); s.State != report.StateDown || s.LastError == nil || s.LastError.Cause != failure.CausePasswordRefused {
				t.Errorf("%s: %s, %+v", s.Tunnel, s.State, s.LastError)
			}
		}

		// Another configuration gives them other names.
		for i := range configs {
			configs[i].Name = "renamed-" + configs[i].Name
		}
		renamed, stopRenamed := start(configs...)
		defer stopRenamed()
		stop()
		ask(t, renamed, 60)
		if n := d.refused.Load(); n != 4 {
			t.Errorf("%d refused logins after they were renamed, want 4", n)
		}

		d.setPassword("wrong") // which is right now
		if err := renamed[7].Reconnect(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if n := d.open.Load(); n != 10 {
			t.Errorf("%d tunnels are up after one was let in, want 10", n)
		}
	})
}

// TestOthersLoginIsTheirs: a password that is refused keeps nobody out who has
// another.
func TestOthersLoginIsTheirs(t *testing.T) {
	d := newDoorkeeper(t, false)
	bubble(t, func(t *testing.T) {
		wrong, stopWrong := start(d.tunnel(t, "wrong", "wrong"))
		defer stopWrong()
		time.Sleep(20 * time.Second)
		right, stopRight := start(d.tunnel(t, "right", "right"))
		defer stopRight()
		time.Sleep(time.Second)
		if a, b := wrong[0].Status().State, right[0].Status().State; a != report.StateDown || b != report.StateUp {
			t.Errorf("they are %s and %s", a, b)
		}
	})
}

// TestForgottenByOperator: what a person demands is a fresh start.
func TestForgottenByOperator(t *testing.T) {
	d := newDoorkeeper(t, false)
	bubble(t, func(t *testing.T) {
		handles, stop := start(d.tunnel(t, "test", "wrong"))
		defer stop()
		time.Sleep(30 * time.Second)
		if n := d.refused.Load(); n != 4 {
			t.Fatalf("%d refused logins, want 4", n)
		}
		_ = handles[0].Reconnect() // which room is made for again
		time.Sleep(30 * time.Second)
		if n := d.refused.Load(); n != 8 {
			t.Errorf("%d refused logins after it was demanded, want 8", n)
		}
	})
}

// TestShutOut: two tunnels with a wrong password each against a server that
// penalises: neither its penalties nor anything else between have them start anew,
// they do not knock while they last, and who has the right password gets in.
func TestShutOut(t *testing.T) {
	d := newDoorkeeper(t, true)
	bubble(t, func(t *testing.T) {
		wrong, stopWrong := start(d.tunnel(t, "a", "wrong a"), d.tunnel(t, "b", "wrong b"))
		defer stopWrong()
		time.Sleep(time.Second)
		ask(t, wrong, 119)
		if n := d.refused.Load(); n > 8 {
			t.Errorf("%d refused logins in two minutes, want 8 at most", n)
		}
		if n := d.knocks.Load(); n > 5 {
			t.Errorf("it was knocked %d times", n)
		}
		right, stopRight := start(d.tunnel(t, "right", "right"))
		defer stopRight()
		time.Sleep(time.Minute)
		if s := right[0].Status(); s.State != report.StateUp {
			t.Errorf("the tunnel with the right password is %s: %+v", s.State, s.LastError)
		}
		time.Sleep(time.Hour)
		if n := d.refused.Load(); n > 8+2*9 {
			t.Errorf("%d refused logins in an hour", n)
		}
	})
}

// TestShutOutForLong: while a source is shut out there is less and less knocking,
// by all together, and no dial changes that.
func TestShutOutForLong(t *testing.T) {
	sshtest.Takes(t, 5*time.Second)
	d := newDoorkeeper(t, true)
	bubble(t, func(t *testing.T) {
		d.penalty.Store(time.Now().Add(time.Hour).UnixNano())
		d.barred.Store(true)
		var configs []Config
		for i := range 10 {
			configs = append(configs, d.tunnel(t, fmt.Sprint("t", i), fmt.Sprint("wrong", i)))
		}
		handles, stop := start(configs...)
		defer stop()
		time.Sleep(2 * time.Second)
		ask(t, handles, 3500)
		if n := d.knocks.Load(); n < 8 || n > 20 {
			t.Errorf("%d knocks in an hour", n)
		}
		if n := d.refused.Load(); n != 0 {
			t.Errorf("%d logins", n)
		}
	})
}

// TestShutOutWords: what sshd sends past MaxStartups is soon over, as far as it can
// be told apart.
func TestShutOutWords(t *testing.T) {
	for words, want := range map[string]failure.Class{
		"Not allowed at this time\r\n": failure.ClassShutOut,
		"Exceeded MaxStartups\r\n":     failure.ClassNetwork,
		"HTTP/1.1 400 Bad Request\r\n": failure.ClassNetwork,
		"SSH-2.0-OpenSSH_10.0\r\n":     failure.ClassProtocol,
	} {
		addr := listen(t, func(c net.Conn) {
			_, _ = io.WriteString(c, words)
			_ = c.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		})
		h := open(t, configFor(t, sshtest.NewKey(), sshtest.NewKey().Fingerprint(), addr), quick())
		_, err := dialFor(t, h, "web:80", sshtest.Patience)
		if got := failure.ClassOf(err); got != want {
			t.Errorf("%q is of class %d, want %d: %v", words, got, want, err)
		}
	}
}
