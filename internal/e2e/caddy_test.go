//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// caddy_test.go builds Caddy, runs it and looks at it.

// patience is how long anything may take for which a test has no limit of its
// own.
const patience = sshtest.Patience

// logShown is how much of Caddy's log a failed test shows.
const logShown = 64 << 10

// binary returns the path of Caddy with this module, and quickBinary that of one without
// the race detector.
var (
	binary      = buildOnce("caddy", "../..", raceFlag)
	quickBinary = buildOnce("caddy-quick", "../..", "-race=false")
)

// buildOnce builds the Caddy of a Go module below the repository once it is needed. It is
// built in the tests' own network: modules that go test ./... has not fetched cannot be.
func buildOnce(name, module, race string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		path := filepath.Join(buildDir, name)
		// Without debugging information it is linked in three quarters of the time.
		out, err := exec.Command("go", "-C", module, "build", race, "-ldflags=-w", "-o", path, "./cmd/caddy").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
		}
		return path, nil
	})
}

// buildDir is where it is built.
var buildDir string

func TestMain(m *testing.M) {
	sshtest.Isolate()
	var err error
	if buildDir, err = os.MkdirTemp("", "e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

// caddy is a Caddy process with a home of its own.
type caddy struct {
	t     *testing.T
	home  string         // $HOME; the directories of $XDG_* are in it
	port  int            // a free one, for sites
	env   []string       // more of the environment
	bare  bool           // it has no environment but env
	netns *sshtest.Netns // where it runs. Default: in no other than we
	// sockets are those that Caddy is started with, at the first connection to one: as
	// systemd-socket-activate(1) takes them. Default: none.
	sockets []string
	client  *http.Client // for sites
	admin   *http.Client // for the admin API, at any address

	program string // its path. Default: that of binary

	cmd    *exec.Cmd
	exited <-chan struct{} // closed when cmd has ended
}

// newCaddy prepares a Caddy that is not running yet.
func newCaddy(t *testing.T, env ...string) *caddy {
	t.Helper()
	sshtest.Needs(t, "a process of Caddy")
	c := &caddy{t: t, home: t.TempDir(), port: sshtest.NewPort(t), env: env}
	c.client = &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 100, ExpectContinueTimeout: patience},
		Timeout:   patience,
	}
	c.admin = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", c.adminSocket())
			},
			DisableKeepAlives: true, // each configuration has its own admin server
		},
		Timeout: patience,
	}
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// startCaddy starts one with the Caddyfile that config returns.
func startCaddy(t *testing.T, config func(c *caddy) string, env ...string) *caddy {
	t.Helper()
	c := newCaddy(t, env...)
	c.start(config(c))
	return c
}

func (c *caddy) adminSocket() string { return filepath.Join(c.home, "admin.sock") }
func (c *caddy) logFile() string     { return filepath.Join(c.home, "log") }

// autosave is where Caddy keeps the last configuration.
func (c *caddy) autosave() string { return filepath.Join(c.home, "config/caddy/autosave.json") }

// configured returns a caddy command that reads a Caddyfile.
func (c *caddy) configured(caddyfile string, args ...string) *exec.Cmd {
	c.t.Helper()
	file := filepath.Join(c.home, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.command(append(args, "--config", file, "--adapter", "caddyfile")...)
}

// command returns a caddy command.
func (c *caddy) command(args ...string) *exec.Cmd {
	c.t.Helper()
	sshtest.Needs(c.t, "a process of Caddy")
	path := c.program
	if path == "" {
		build := binary
		if raceFlag == "-race=true" && !serves(args) {
			build = quickBinary
		}
		var err error
		if path, err = build(); err != nil {
			c.t.Fatal(err)
		}
	}
	cmd := exec.Command(path, args...)
	if c.netns != nil {
		cmd = c.netns.Command(path, args...)
	}
	if c.bare {
		cmd.Env, cmd.Dir = append([]string{}, c.env...), c.home
		return cmd
	}
	// Nothing of our environment: no agent, no proxy, no home. A process would last a
	// second longer for the race detector.
	cmd.Env = append([]string{
		"GORACE=atexit_sleep_ms=0",
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + c.home,
		"XDG_CONFIG_HOME=" + filepath.Join(c.home, "config"),
		"XDG_DATA_HOME=" + filepath.Join(c.home, "data"),
		"CADDY_ADMIN=unix/" + c.adminSocket(),
	}, c.env...)
	return cmd
}

// start runs Caddy until the test ends, and waits until it serves.
func (c *caddy) start(caddyfile string) {
	c.t.Helper()
	_ = os.Remove(c.logFile()) // of the run before
	process, err := sshtest.StartProcess(c.activated(c.configured(caddyfile, "run")), c.logFile())
	if err != nil {
		c.t.Fatal(err)
	}
	c.cmd, c.exited = process.Cmd, process.Exited
	c.t.Cleanup(func() {
		shown := c.t.Failed()
		if shown {
			c.showLog()
			c.abort()
		}
		c.stop(patience)
		if !shown && c.t.Failed() {
			c.showLog()
		}
	})
	sshtest.Eventually(c.t, patience, "Caddy serves its admin API", func() bool {
		if !c.running() {
			c.t.Fatalf("Caddy does not start:\n%s", c.log())
		}
		response, err := c.admin.Get("http://127.0.0.1/config/")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// activated returns a command that waits for a connection to one of the sockets, and then
// is cmd.
func (c *caddy) activated(cmd *exec.Cmd) *exec.Cmd {
	c.t.Helper()
	if len(c.sockets) == 0 {
		return cmd
	}
	var args []string
	for _, socket := range c.sockets {
		args = append(args, "--listen", socket)
	}
	for _, variable := range cmd.Env {
		args = append(args, "--setenv", variable)
	}
	return client(c.t, "systemd-socket-activate", append(args, cmd.Args...)...)
}

// serves reports whether the arguments are those of a command that goes on. One that does
// not starts in a third of the time without the race detector, which has less to find there.
func serves(args []string) bool {
	return slices.Contains(args, "run") || slices.Contains(args, "start") || slices.Contains(args, "forward")
}

func (c *caddy) running() bool {
	select {
	case <-c.exited:
		return false
	default:
		return true
	}
}

// stop ends Caddy with SIGTERM, if it runs. It fails the test if that takes too
// long, or if Caddy has panicked or raced.
func (c *caddy) stop(timeout time.Duration) {
	c.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	c.waitExit(timeout)
	log := c.log()
	for _, trouble := range []string{"panic: ", "fatal error: "} {
		if strings.Contains(log, trouble) {
			c.t.Errorf("Caddy's log has %q", trouble)
		}
	}
	// Caddy's own races are not ours to fix: its streams have one at a reload,
	// and its request bodies one with HTTP/2 upstreams. Who started the
	// goroutines says nothing: every request comes through our RoundTrip.
	const border = "==================\n"
	for report := range strings.SplitSeq(log, border) {
		accesses, _, _ := strings.Cut(report, ") created at:")
		if strings.Contains(report, "WARNING: DATA RACE") && strings.Contains(accesses, project) {
			c.t.Errorf("a data race:\n%s", report)
		}
	}
}

// project is in the names of all functions of this module.
const project = "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel"

// waitExit waits until Caddy has ended, after a signal or a stop.
func (c *caddy) waitExit(timeout time.Duration) {
	c.t.Helper()
	select {
	case <-c.exited:
	case <-time.After(timeout):
		c.t.Errorf("Caddy has not ended within %v", timeout)
		c.abort()
	}
}

// showLog shows the end of Caddy's log.
func (c *caddy) showLog() {
	c.t.Helper()
	log := c.log()
	c.t.Logf("the end of Caddy's log:\n%s", log[max(0, len(log)-logShown):])
}

// abort ends Caddy at once if it runs, and shows what its goroutines do.
func (c *caddy) abort() {
	c.t.Helper()
	if !c.running() {
		return
	}
	before := len(c.log())
	_ = c.cmd.Process.Signal(syscall.SIGABRT) // Caddy handles SIGQUIT
	select {
	case <-c.exited:
	case <-time.After(patience):
		_ = c.cmd.Process.Kill()
		<-c.exited
	}
	c.t.Logf("Caddy's goroutines:\n%s", c.log()[before:])
}

// load gives the running Caddy another Caddyfile, and returns why it does not
// take it.
func (c *caddy) load(caddyfile string) error {
	request, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/load", strings.NewReader(caddyfile))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	request.Header.Set("Cache-Control", "must-revalidate") // even if nothing has changed
	response, err := c.admin.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return err
}

// loadOrGiveUp is load that waits for a time at most.
func (c *caddy) loadOrGiveUp(caddyfile string, limit time.Duration) {
	impatient := *c.admin
	impatient.Timeout = limit
	patient := *c
	patient.admin = &impatient
	_ = patient.load(caddyfile)
}

// reload is load that fails the test.
func (c *caddy) reload(caddyfile string) {
	c.t.Helper()
	if err := c.load(caddyfile); err != nil {
		c.t.Fatalf("reloading: %v", err)
	}
}

// fromAdmin returns what the admin API answers.
func (c *caddy) fromAdmin(path string) string {
	c.t.Helper()
	response, err := c.admin.Get("http://127.0.0.1" + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(body)
}

var profileCount = regexp.MustCompile(`^(\d+) @ `)

// goroutines returns how many goroutines run this project's code, and their
// stacks. Those of Caddy and net/http come and go as they like.
func (c *caddy) goroutines() (n int, stacks string) {
	c.t.Helper()
	var ours []string
	for record := range strings.SplitSeq(c.fromAdmin("/debug/pprof/goroutine?debug=1"), "\n\n") {
		at := max(strings.IndexByte(record, '\n')+1, 0)
		if !profileCount.MatchString(record) {
			record = record[at:] // the first record stands below the total
		}
		if count := profileCount.FindStringSubmatch(record); count != nil && strings.Contains(record, project) {
			k, _ := strconv.Atoi(count[1])
			n += k
			ours = append(ours, record)
		}
	}
	return n, strings.Join(ours, "\n\n")
}

// descriptors returns how many files Caddy has open.
func (c *caddy) descriptors() int {
	c.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	return len(entries)
}

// log returns what Caddy has logged.
func (c *caddy) log() string {
	log, err := os.ReadFile(c.logFile())
	if err != nil {
		return ""
	}
	return string(log)
}

// loggedAt returns when Caddy logged a message.
func (c *caddy) loggedAt(message string) time.Time {
	c.t.Helper()
	for line := range strings.Lines(c.log()) {
		var entry struct {
			Message string  `json:"msg"`
			Time    float64 `json:"ts"` // seconds
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == message {
			return time.UnixMicro(int64(entry.Time * 1e6))
		}
	}
	c.t.Fatalf("Caddy has not logged %q", message)
	return time.Time{}
}

// logged reports whether an entry of the log has all the texts, in its values
// and not as JSON has them.
func (c *caddy) logged(texts ...string) bool {
	for line := range strings.Lines(c.log()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		values := fmt.Sprint(entry)
		all := true
		for _, text := range texts {
			all = all && strings.Contains(values, text)
		}
		if all {
			return true
		}
	}
	return false
}
