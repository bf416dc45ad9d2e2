//go:build unix

package tunnel

import (
	"cmp"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestPermitSpelling: sshd compares what it permits as text. We decide as ssh -R and
// -L do, and the errors say which text it takes.
func TestPermitSpelling(t *testing.T) {
	t.Parallel()
	for _, byKey := range []bool{false, true} {
		for _, permitted := range []string{"localhost", "127.0.0.1", "*", "[::1]"} {
			t.Run(map[bool]string{false: "sshd_config ", true: "key "}[byKey]+permitted, func(t *testing.T) {
				t.Parallel()
				p := port(t, freeAddr(t))
				target := listen(t, echo)
				opened := permitted + ":" + port(t, target)
				config := "PermitListen " + permitted + ":" + p + "\nPermitOpen " + opened + "\n"
				if byKey {
					config = ""
				}
				s, h := sshdTunnel(t, quick(), config)
				if byKey {
					sshtest.Write(t, s.AuthorizedKeysFile(), `permitlisten="`+permitted+":"+p+`",permitopen="`+opened+`" `+s.ClientKey.AuthorizedKey()+"\n")
				}
				for _, host := range []string{"localhost", "127.0.0.1", "*", "::1"} {
					listens(t, s, h, host, p)
				}
				for _, host := range []string{"localhost", "127.0.0.1"} {
					dials(t, h, host+":"+port(t, target), permitted == host || permitted == "*")
				}
			})
		}
	}
}

// listens asks sshd to listen, as ssh -R does.
func listens(t *testing.T, s *sshtest.SSHD, h *Handle, host, port string) {
	t.Helper()
	address := net.JoinHostPort(cmp.Or(host, "*"), port)
	cfg := configFor(t, s.ClientKey, "", s.Addr())
	cfg.User = s.User
	bound := address
	if host == "localhost" {
		bound = port // ssh -R asks for localhost where it is given no host
	}
	want, said := sshLogin(t, cfg, "StrictHostKeyChecking=no", "UserKnownHostsFile="+os.DevNull, "ExitOnForwardFailure=yes", "RemoteForward="+bound+" 127.0.0.1:1")
	ln, err := h.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = ln.Close()
		sshtest.Eventually(t, 10*time.Second, "the port to be free", func() bool { return ln.Status().State != remote.Listening })
	}()
	sshtest.Eventually(t, 10*time.Second, "an answer to "+address, func() bool { return ln.Status().State != remote.Waiting })
	status := ln.Status()
	if got := status.State == remote.Listening; got != want {
		t.Errorf("%s: %v; ssh: %v\n%s", address, status, want, said)
	}
	if spelling := `PermitListen and permitlisten have to list "` + address + `"`; !want && !strings.Contains(status.Err.Error(), spelling) {
		t.Errorf("%s: %v, want %q", address, status.Err, spelling)
	}
}

// dials opens a channel.
func dials(t *testing.T, h *Handle, address string, want bool) {
	t.Helper()
	c, err := dialFor(t, h, address, sshtest.Patience)
	if err == nil {
		_ = c.Close()
	}
	refused, ok := errors.AsType[*failure.OpenError](err)
	if want != (err == nil) || !want && (!ok || !strings.Contains(refused.Detail, `PermitOpen and permitopen have to list "`+address+`"`)) {
		t.Errorf("%s: %v, want %v", address, err, want)
	}
}
