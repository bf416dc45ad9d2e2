//go:build linux

package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/sys/unix"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// matrix_rig_test.go is what the fault matrix and the soak test break: a
// bastion, the network before it, the targets behind it, an agent, and Caddy,
// which is configured such that everything has a bound.

const (
	// The options of the tunnels, and what follows from them.
	aliveInterval = time.Second     // server_alive_interval
	dialTimeout   = 3 * time.Second // dial_timeout; connect_timeout is the same
	quietTimeout  = 5 * time.Second // read_timeout, write_timeout, response_header_timeout, idle_timeout
	gracePeriod   = 2 * time.Second // grace_period
	rawDial       = 10 * time.Second
	silence       = 4 * aliveInterval // until a bastion that answers nothing is given up

	// slack is for a machine that does much at once.
	slack = 25 * time.Second
	// bound is how long a client may wait for any news: raw connections wait
	// longest for a connection to the bastion, which then may turn out to be dead.
	bound = rawDial + silence + slack
)

// rig is one of these.
type rig struct {
	*caddy
	b     *bastion
	link  *sshtest.Link // between Caddy and the bastion
	inner *sshtest.SSHD // behind it, for jumps. nil unless that is among the kinds
	kinds []*traffic

	targets  []*target
	agent    *testAgent
	ca       *sshtest.CA
	here     *sshtest.Web // what a bound site and the remote_forward lead to
	hosts    string       // the path of known_hosts
	siteCert string       // the directive tls of its site
	rawPort  int          // of the local_forward
	socks    int          // of the dynamic_forward
	sniPort  int          // of the listener wrapper
	jumpPort int          // of the site behind the jump

	// What a reload may change.
	user    string // whom to log in as
	options string // more of the tunnels'
}

// newRig starts a rig for some kinds of traffic.
func newRig(t *testing.T, kinds ...*traffic) *rig {
	t.Helper()
	b := newEmptyBastion(t, "GatewayPorts clientspecified\nMaxStartups 3\nMaxAuthTries 2\nClientAliveInterval 2\nClientAliveCountMax 3\n")
	r := &rig{caddy: newCaddy(t), b: b, link: b.link(), kinds: kinds, ca: sshtest.NewCA(), user: users[0], rawPort: sshtest.NewPort(t), socks: sshtest.NewPort(t), sniPort: sshtest.NewPort(t), jumpPort: sshtest.NewPort(t)}
	r.port = sshtest.NewPort(t)
	known := sshtest.KnownHostsLine(r.link.Addr(), b.HostKey.PublicKey()) + "\n"
	if r.has("proxy_jump") {
		keys := sshtest.WriteFile(t, "keys", []byte(b.identity.AuthorizedKey()+"\n"))
		r.inner = sshtest.StartSSHD(t, sshtest.SSHDOptions{
			Netns:  b.netns,
			Config: fmt.Sprintf("AuthorizedKeysCommand /bin/cat %s\nAuthorizedKeysCommandUser root\n", keys),
		})
		known += r.inner.HostKeyLine() + "\n"
	}
	r.hosts = sshtest.WriteFile(t, "known_hosts", []byte(known))
	r.agent = newTestAgent(t, b.identity)
	r.here = sshtest.NewWeb(t, sshtest.WebOptions{})
	r.siteCert = certificate(t, r.ca, siteName)

	r.target("127.0.0.1:80", func(l net.Listener) { r.serveHTTP(l, sshtest.WebHandler("web")) })
	r.target("127.0.0.1:81", serveGRPC)
	r.target("127.0.0.1:7", func(l net.Listener) { acceptAny(l, echoAll) })
	inside := &tls.Config{Certificates: []tls.Certificate{r.ca.Issue(innerName)}}
	r.target("127.0.0.1:443", func(l net.Listener) { acceptAny(tls.NewListener(l, inside), echoAll) })

	r.start(r.config())
	return r
}

// has reports whether a kind of traffic is among the rig's.
func (r *rig) has(name string) bool {
	return slices.ContainsFunc(r.kinds, func(k *traffic) bool { return k.name == name })
}

// config returns the Caddyfile.
func (r *rig) config() string {
	options := func(more string) string {
		return fmt.Sprintf("known_hosts %s\nidentity_agent %s\nserver_alive_interval %v\nconnect_timeout %v\nreconnect_delay 100ms 1s\ndrain_timeout 10s\n%s%s",
			r.hosts, r.agent.path, aliveInterval, dialTimeout, r.options, more)
	}
	var tunnels strings.Builder
	tunnel := func(name, address, more string) {
		fmt.Fprintf(&tunnels, "tunnel %s %s@%s {\n%s}\n", name, r.user, address, options(more))
	}
	forward := ""
	if r.has("local_forward") {
		forward = fmt.Sprintf("local_forward %d echo.internal:7 {\nidle_timeout %v\n}\n", r.rawPort, quietTimeout)
	}
	if r.has("dynamic_forward") {
		forward += fmt.Sprintf("dynamic_forward %d {\nidle_timeout %v\n}\n", r.socks, quietTimeout)
	}
	if r.has("remote_forward") {
		forward += fmt.Sprintf("remote_forward *:%d %s {\nidle_timeout %v\n}\n", visitorPort, r.here.Addr(), quietTimeout)
	}
	direct := len(r.kinds) > 1 || !r.has("proxy_jump")
	if direct {
		tunnel("prod", r.link.Addr(), forward)
	}
	transport := func(tunnel string) string {
		return fmt.Sprintf("transport ssh_tunnel %s {\ndial_timeout %v\nread_timeout %[3]v\nwrite_timeout %[3]v\nresponse_header_timeout %[3]v\nkeepalive 1s\n}\n",
			tunnel, dialTimeout, quietTimeout)
	}
	global, sites := "", ""
	if r.has("SNI passthrough") {
		global = fmt.Sprintf("servers 127.0.0.1:%d {\nlistener_wrappers {\nssh_tunnel prod web.internal:443 {\nmatch sni %s\nidle_timeout %v\n}\ntls\n}\n}\n",
			r.sniPort, innerName, quietTimeout)
		sites += tlsSite(siteName, r.sniPort, r.siteCert+"respond hello\n")
	}
	if r.has("bind") {
		sites += fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\nreverse_proxy %s {\ntransport http {\nkeepalive 1s\n}\n}\n}\n", anyPort, r.here.Addr())
	}
	if r.has("proxy_jump") {
		tunnel("outer", r.link.Addr(), "")
		tunnel("inner", r.inner.Addr(), "proxy_jump outer\n")
		sites += r.site(r.jumpPort, "reverse_proxy web.internal:80 {\n"+transport("inner")+"}\n")
	}
	if direct {
		sites += r.site(r.port, "handle /echo/* {\nreverse_proxy h2c://web.internal:81 {\nflush_interval -1\n"+transport("prod")+"}\n}\n"+
			"handle {\nreverse_proxy web.internal:80 {\nstream_close_delay 1m\n"+transport("prod")+"}\n}\n")
	}
	return fmt.Sprintf("{\nauto_https off\ngrace_period %v\nservers 127.0.0.1:%d {\nprotocols h1 h2c\n}\n%sssh_tunnel {\n%s}\n}\n%s",
		gracePeriod, r.port, global, tunnels.String(), sites)
}

// counts are what must not grow.
type counts struct {
	goroutines int // of this module
	files      int
	heap       int // live, in bytes
}

func (c counts) within(limit counts) bool {
	return c.goroutines <= limit.goroutines && c.files <= limit.files && c.heap <= limit.heap
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// count looks at Caddy, after a garbage collection.
func (r *rig) count() counts {
	r.t.Helper()
	var c counts
	if found := heapAlloc.FindStringSubmatch(r.fromAdmin("/debug/pprof/heap?gc=1&debug=1")); found != nil {
		c.heap, _ = strconv.Atoi(found[1])
	}
	c.goroutines, _ = r.goroutines()
	c.files = r.descriptors()
	return c
}

// leftBehind says what is there beyond a limit.
func (r *rig) leftBehind(limit counts) string {
	r.t.Helper()
	_, stacks := r.goroutines()
	sockets, _ := exec.Command("ss", "-tnpH").CombinedOutput()
	var files strings.Builder
	for line := range strings.Lines(string(sockets)) {
		if strings.Contains(line, fmt.Sprintf("pid=%d,", r.cmd.Process.Pid)) {
			files.WriteString(line)
		}
	}
	return fmt.Sprintf("left behind: %+v, at most %+v\n%s\n%s", r.count(), limit, files.String(), stacks)
}

// settle counts once nothing comes or goes any more.
func (r *rig) settle() counts {
	r.t.Helper()
	last, same := r.count(), 0
	sshtest.Eventually(r.t, 2*patience, "Caddy is at rest", func() bool {
		time.Sleep(400 * time.Millisecond)
		now := r.count()
		if now.goroutines == last.goroutines && now.files == last.files {
			same++
		} else {
			same = 0
		}
		last = now
		return same == 3
	})
	return last
}

// target is a server behind the bastion that can fail.
type target struct {
	r       *rig
	address string
	serve   func(net.Listener) // until it is closed

	mu      sync.Mutex
	l       net.Listener // nil while it is closed
	conns   map[*targetConn]struct{}
	flowing chan struct{} // closed while it reads
	reset   bool          // whoever connects is reset
	accepts chan struct{} // closed while it accepts
	waiting []net.Conn    // not accepted
}

// target starts one, which serves until the test ends.
func (r *rig) target(address string, serve func(net.Listener)) {
	t := &target{r: r, address: address, serve: serve, conns: make(map[*targetConn]struct{}), flowing: make(chan struct{}), accepts: make(chan struct{})}
	close(t.flowing)
	close(t.accepts)
	r.targets = append(r.targets, t)
	t.open()
}

// open undoes close.
func (t *target) open() {
	l := t.r.b.netns.Listen("tcp", t.address)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.l = l
	go t.serve(&targetListener{l, t}) // until l is closed
}

// close closes the port and all connections.
func (t *target) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.l.Close()
	for c := range t.conns {
		_ = c.TCPConn.Close()
	}
}

// setReset resets the connections, and those that come, or no longer does.
func (t *target) setReset(on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reset = on
	for c := range t.conns {
		if on {
			_ = c.SetLinger(0)
			_ = c.TCPConn.Close()
		}
	}
}

// stall stops its reads; flow undoes that.
func (t *target) stall() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flowing = make(chan struct{})
}

func (t *target) flow() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.flowing)
}

// targetListener knows the connections of a target.
type targetListener struct {
	net.Listener
	t *target
}

func (l *targetListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.t.mu.Lock()
		accepts := l.t.accepts
		l.t.mu.Unlock()
		<-accepts
		c := &targetConn{conn.(*net.TCPConn), l.t}
		l.t.mu.Lock()
		reset := l.t.reset
		if !reset {
			l.t.conns[c] = struct{}{}
		}
		l.t.mu.Unlock()
		if !reset {
			return c, nil
		}
		_ = c.SetLinger(0)
		_ = c.TCPConn.Close()
	}
}

type targetConn struct {
	*net.TCPConn
	t *target
}

func (c *targetConn) Read(p []byte) (int, error) {
	c.t.mu.Lock()
	flowing := c.t.flowing
	c.t.mu.Unlock()
	<-flowing
	return c.TCPConn.Read(p)
}

func (c *targetConn) Close() error {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	delete(c.t.conns, c)
	return c.TCPConn.Close()
}

// serveHTTP serves HTTP/1.1 and HTTP/2 without TLS.
func (r *rig) serveHTTP(l net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	_ = server.Serve(l)
}

// acceptAny is accept for connections of any type.
func acceptAny(l net.Listener, handle func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			handle(conn)
		}()
	}
}

// echoAll is echo for connections of any type, and takes no short cut.
func echoAll(c net.Conn) { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }

// testAgent is an ssh-agent.
type testAgent struct {
	t       *testing.T
	path    string
	keyring agent.Agent
	good    *sshtest.Key

	mu    sync.Mutex
	l     net.Listener
	conns map[net.Conn]struct{}
	hung  chan struct{} // closed once it does not hang any more; nil while it never has
}

func newTestAgent(t *testing.T, key *sshtest.Key) *testAgent {
	t.Helper()
	a := &testAgent{t: t, path: filepath.Join(t.TempDir(), "agent"), keyring: agent.NewKeyring(), good: key, conns: make(map[net.Conn]struct{})}
	a.setKeys(0)
	a.open()
	t.Cleanup(a.close)
	return a
}

// setKeys gives it some keys that do not fit or, if none, the one that does.
func (a *testAgent) setKeys(wrong int) {
	_ = a.keyring.RemoveAll()
	for range wrong {
		_ = a.keyring.Add(agent.AddedKey{PrivateKey: sshtest.NewKey().Private()})
	}
	if wrong == 0 {
		_ = a.keyring.Add(agent.AddedKey{PrivateKey: a.good.Private()})
	}
}

func (a *testAgent) open() {
	l, err := net.Listen("unix", a.path)
	if err != nil {
		a.t.Error(err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.l = l
	go acceptAny(l, func(conn net.Conn) {
		a.mu.Lock()
		a.conns[conn] = struct{}{}
		hung := a.hung
		a.mu.Unlock()
		if hung != nil {
			<-hung
		}
		_ = agent.ServeAgent(a.keyring, conn)
		a.mu.Lock()
		delete(a.conns, conn)
		a.mu.Unlock()
	})
}

// hang has it answer nothing that it is asked from now on, until it is undone.
func (a *testAgent) hang() (undo func()) {
	hung := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hung = hung
	return func() { close(hung) }
}

// close ends it, and removes its socket.
func (a *testAgent) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.l.Close()
	for conn := range a.conns {
		_ = conn.Close()
	}
}

// limitFiles has a process open no more than so many files, and returns what
// undoes that.
func limitFiles(n uint64, pid int) (undo func()) {
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		return func() {}
	}
	_ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}, nil)
	return func() { _ = unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil) } // it may have ended
}
