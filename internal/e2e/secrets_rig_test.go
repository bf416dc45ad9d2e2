//go:build linux

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// secrets_rig_test.go makes secrets and finds them again, however they are
// written; and has peers that repeat what they get.

// secrets are values that must not be seen, by what they are.
type secrets map[string]string

// add returns a new secret. It has what other notations write differently.
func (s secrets) add(kind string) string {
	s[kind] = fmt.Sprintf("Xq%dz-%s-\"ä%%&+/<", len(s), strings.ReplaceAll(kind, " ", "_"))
	return s[kind]
}

// except returns s without some.
func (s secrets) except(kinds ...string) secrets {
	rest := make(secrets)
	for kind, value := range s {
		if !slices.Contains(kinds, kind) {
			rest[kind] = value
		}
	}
	return rest
}

// in tells which of the secrets a text has, and how they are written there.
func (s secrets) in(text string) (found []string) {
	for kind, value := range s {
		// What comes before the quote is enough to tell them apart.
		core, _, _ := strings.Cut(value, `"`)
		var ways []string
		for _, v := range []string{value, core} {
			for notation, written := range notations(v) {
				if strings.Contains(text, written) {
					ways = append(ways, notation)
				}
			}
		}
		if ways != nil {
			slices.Sort(ways)
			found = append(found, fmt.Sprintf("%s (%s)", kind, strings.Join(slices.Compact(ways), "; ")))
		}
	}
	return found
}

// notations returns the ways to write a value.
func notations(value string) map[string]string {
	inJSON, _ := json.Marshal(value)
	n := map[string]string{
		"as it is":         value,
		"as JSON":          strings.Trim(string(inJSON), `"`),
		"quoted":           strings.Trim(strconv.Quote(value), `"`),
		"quoted, as ASCII": strings.Trim(strconv.QuoteToASCII(value), `"`),
		"in a query":       url.QueryEscape(value),
		"in a path":        url.PathEscape(value),
		"hexadecimal":      hex.EncodeToString([]byte(value)),
	}
	for shift := range 3 { // as base64 of something longer, which it is a part of
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			padded := encoding.EncodeToString(append(make([]byte, shift), value...))
			n[fmt.Sprintf("%s, shifted by %d", name, shift)] = padded[(8*shift+5)/6 : 8*(shift+len(value))/6]
		}
	}
	return n
}

// TestSecretsAreFound keeps the tests from finding nothing because they cannot.
func TestSecretsAreFound(t *testing.T) {
	s := make(secrets)
	v := s.add("some password")
	quoted, _ := json.Marshal(map[string]string{"error": v})
	for _, text := range []string{
		"x" + v + "y", string(quoted), fmt.Sprintf("%q", v), "Basic " + base64.StdEncoding.EncodeToString([]byte("u:"+v)),
		base64.URLEncoding.EncodeToString([]byte("user:" + v + "!")), url.UserPassword("u", v).String(), "?p=" + url.QueryEscape(v), fmt.Sprintf("%x", v),
	} {
		if len(s.in(text)) == 0 {
			t.Errorf("%q: it is not found", text)
		}
	}
	if found := s.in("Xq1z another"); found != nil {
		t.Errorf("found %q", found)
	}
}

// parrotProxy is an HTTP proxy. Whoever has the right login is connected, and to
// others it repeats what they said.
func parrotProxy(t *testing.T, user, password string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go accept(ln, func(client *net.TCPConn) {
		request, err := http.ReadRequest(bufio.NewReader(client))
		if err != nil {
			return
		}
		authorization := request.Header.Get("Proxy-Authorization")
		login, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(authorization, "Basic "))
		if string(login) != user+":"+password {
			said := strings.NewReplacer("\r", "", "\n", "").Replace(string(login))
			_, _ = fmt.Fprintf(client, "HTTP/1.1 407 %s is %s\r\n\r\n", authorization, said)
			return
		}
		server, err := net.Dial("tcp", request.Host)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		// Returns when the client has ended; then so does the server.
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.Close()
		}()
		_, _ = io.Copy(client, server)
	})
	return ln.Addr().String()
}

// parrotDialogue asks for a password, and then for more with that in the prompt.
func parrotDialogue(user string, ask ssh.KeyboardInteractiveChallenge) error {
	answers, err := ask("", "", []string{"Password: "}, []bool{false})
	if err != nil {
		return err
	}
	for range 2 {
		if _, err := ask(user, answers[0], []string{"Code, but not " + answers[0] + ": "}, []bool{false}); err != nil {
			return err
		}
	}
	return fmt.Errorf("%q is no code", answers[0])
}

// serveAgent returns the socket of an agent with a key.
func serveAgent(t *testing.T, key *sshtest.Key) string {
	t.Helper()
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: key.Private()}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "agent")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	t.Cleanup(conns.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	// It returns when the listener is closed; who serves a connection, when Caddy
	// has closed that.
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = agent.ServeAgent(keyring, conn)
			})
		}
	})
	return path
}

// descendants returns the processes that a process has started, and those that
// they have.
func descendants(t *testing.T, pid int) (pids []int) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		list, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for child := range strings.FieldsSeq(string(list)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(append(pids, n), descendants(t, n)...)
		}
	}
	return pids
}
