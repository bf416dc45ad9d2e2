//go:build linux

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// forward_test.go has real servers behind the forwards of a tunnel, and real
// clients before them.

// program returns a program's path, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	return sshtest.Program(t, name)
}

// client returns a command that has nothing of our environment, and a home of
// its own.
func client(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C"}
	return cmd
}

// output runs a command and returns what it prints, without the space around.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// fails runs a command that must not succeed.
func fails(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("%s succeeds:\n%s", strings.Join(cmd.Args, " "), out)
	}
}

// as returns the start of a setpriv(1) command that runs as another user of
// this machine. Where there is no such user the test is skipped.
func as(t *testing.T, name string, options ...string) []string {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		sshtest.Missing(t, err.Error())
	}
	args := []string{program(t, "setpriv"), "--reuid", account.Uid, "--regid", account.Gid, "--clear-groups"}
	return append(append(args, options...), "--")
}

// startInside runs a server in the bastion's network, as some user and until
// the test ends.
func (b *bastion) startInside(account string, args ...string) {
	b.t.Helper()
	// Only setpriv(1) can have it die with us once it is another user's.
	setpriv := as(b.t, account, "--pdeathsig", "KILL")
	cmd := b.netns.Command(setpriv[0], append(setpriv[1:], args...)...)
	cmd.Dir = "/"
	server := sshtest.NewProcess(b.t, cmd)
	b.t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // PostgreSQL and Redis end without ado
		select {
		case <-server.Exited:
		case <-time.After(patience):
		}
	})
}

// postgresPassword is that of the only user of the database, app.
const postgresPassword = "correct horse"

// startPostgres runs PostgreSQL inside, on 127.0.0.1:5432.
func (b *bastion) startPostgres() {
	b.t.Helper()
	servers, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // where Debian has it
	if len(servers) == 0 {
		sshtest.Missing(b.t, "postgresql is not installed")
	}
	setpriv := as(b.t, "postgres")
	server := slices.Max(servers)
	// Not in a directory of ours, which only we may enter: it refuses to be root.
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(postgresPassword), 0o600); err != nil {
		b.t.Fatal(err)
	}
	output(b.t, client(b.t, "chown", "-R", "postgres", dir))
	data := filepath.Join(dir, "data")
	initdb := client(b.t, setpriv[0], append(setpriv[1:],
		filepath.Join(filepath.Dir(server), "initdb"), "--pgdata", data, "--username", "app", "--pwfile", password,
		"--auth", "scram-sha-256", "--no-sync", "--locale", "C", "--encoding", "UTF8")...)
	initdb.Dir = "/"
	output(b.t, initdb)
	b.startInside("postgres", server, "-D", data, "-h", "127.0.0.1", "-p", "5432", "-k", "", "-F")
}

// TestPostgres has psql use a database behind the bastion: through a port, and
// through a socket where it looks for one.
func TestPostgres(t *testing.T) {
	t.Parallel()
	psql := program(t, "psql")
	b := newEmptyBastion(t, "")
	b.startPostgres()
	port := sshtest.NewPort(t)
	c := startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod",
			fmt.Sprintf("local_forward %d localhost:5432", port),
			fmt.Sprintf("local_forward unix/%s/.s.PGSQL.5432 localhost:5432", c.home)), "", "")
	})
	query := func(host string, port int, sql string) *exec.Cmd {
		cmd := client(t, psql, "--no-psqlrc", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1",
			"-h", host, "-p", strconv.Itoa(port), "-U", "app", "-d", "postgres", "-c", sql)
		cmd.Env = append(cmd.Env, "PGPASSWORD="+postgresPassword, "PGCONNECT_TIMEOUT=60")
		return cmd
	}
	sshtest.Eventually(t, patience, "PostgreSQL accepts connections", func() bool {
		return query("127.0.0.1", port, "select 1").Run() == nil
	})
	if got := output(t, query("127.0.0.1", port, "select current_user || ' at ' || inet_server_port()")); got != "app at 5432" {
		t.Errorf("psql prints %q", got)
	}
	output(t, query("127.0.0.1", port, "create table numbers as select n, md5(n::text) as sum from generate_series(1, 100000) as n"))
	if rows := strings.Count(output(t, query(c.home, 5432, "select n, sum from numbers order by n")), "\n") + 1; rows != 100_000 {
		t.Errorf("psql prints %d rows", rows)
	}
	wrong := query("127.0.0.1", port, "select 1")
	wrong.Env = append(wrong.Env, "PGPASSWORD=wrong")
	fails(t, wrong)
}

// startRedis runs Redis inside, on 127.0.0.1:6379.
func (b *bastion) startRedis() {
	b.t.Helper()
	b.startInside("nobody", program(b.t, "redis-server"), "--bind", "127.0.0.1", "--port", "6379", "--save", "")
}

// TestRedis has redis-cli use a Redis behind the bastion.
func TestRedis(t *testing.T) {
	t.Parallel()
	cli := program(t, "redis-cli")
	b := newEmptyBastion(t, "")
	b.startRedis()
	port := sshtest.NewPort(t)
	startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod", fmt.Sprintf("local_forward 127.0.0.1:%d localhost:6379", port)), "", "")
	})
	redis := func(args ...string) *exec.Cmd {
		return client(t, cli, append([]string{"-e", "-h", "127.0.0.1", "-p", strconv.Itoa(port)}, args...)...)
	}
	sshtest.Eventually(t, patience, "Redis answers", func() bool { return redis("PING").Run() == nil })
	// A pipeline: many commands in one go, and as many answers.
	pipeline := redis("--pipe")
	var commands strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&commands, "SET key:%d value-%d\r\n", n, n)
	}
	pipeline.Stdin = strings.NewReader(commands.String())
	if out := output(t, pipeline); !strings.Contains(out, "errors: 0, replies: 20000") {
		t.Errorf("redis-cli --pipe prints:\n%s", out)
	}
	if got := output(t, redis("GET", "key:19999")); got != "value-19999" {
		t.Errorf("redis-cli prints %q", got)
	}
}

// TestSOCKS has curl use the dynamic forward, for a name that is known inside
// alone.
func TestSOCKS(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "")
	open, guarded := sshtest.NewPort(t), sshtest.NewPort(t)
	startCaddy(t, func(c *caddy) string {
		c.env = append(c.env, "PROXY_PASSWORD=correct horse")
		return c.caddyfile(b.tunnel("prod",
			fmt.Sprintf("dynamic_forward %d", open),
			fmt.Sprintf("dynamic_forward *:%d {\nuser me {env.PROXY_PASSWORD}\n}", guarded)), "", "")
	})
	curl := func(args ...string) *exec.Cmd {
		return client(t, "curl", append([]string{"-sS", "--fail", "--max-time", "60"}, args...)...)
	}
	const url = "http://web.internal/hello"
	for _, args := range [][]string{
		{"--socks5-hostname", local(open), url},
		{"--socks5-hostname", local(open), "--proxy-user", "any:body", url}, // it need not be asked
		{"--socks5-hostname", local(guarded), "--proxy-user", "me:correct horse", url},
		{"--socks5", local(open), "http://127.0.0.1/hello"},
	} {
		if got := output(t, curl(args...)); !strings.Contains(got, "hello from web") {
			t.Errorf("curl %q prints %q", args, got)
		}
	}
	before := b.web.Accepted()
	for _, args := range [][]string{
		{"--socks5", local(open), url}, // the name resolved here
		{"--socks5-hostname", local(guarded), url},
		{"--socks5-hostname", local(guarded), "--proxy-user", "me:wrong", url},
		{"--socks5-hostname", local(guarded), "--proxy-user", "you:correct horse", url},
		{"--socks5-hostname", local(open), "http://nowhere.internal/hello"},
		{"--socks5-hostname", local(open), "http://web.internal:81/hello"},
	} {
		fails(t, curl(args...))
	}
	if after := b.web.Accepted(); after != before {
		t.Errorf("the web server got %d connections that it should not", after-before)
	}
}

// TestRemoteForward has curl reach a server of ours from the bastion, and from
// another host than that.
func TestRemoteForward(t *testing.T) {
	t.Parallel()
	b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
	web := sshtest.NewWeb(t, sshtest.WebOptions{})
	startCaddy(t, func(c *caddy) string {
		return c.caddyfile(b.tunnel("prod",
			"remote_forward 8080 "+web.Addr(),
			"remote_forward *:8081 "+web.Addr()), "", "")
	})
	inside := func(url string) *exec.Cmd {
		return b.netns.Command(program(t, "curl"), "-sS", "--fail", "--noproxy", "*", "--max-time", "60", url)
	}
	for _, url := range []string{"http://localhost:8080/hello", "http://localhost:8081/hello"} {
		sshtest.Eventually(t, patience, "the bastion listens for "+url, func() bool { return inside(url).Run() == nil })
		if got := output(t, inside(url)); !strings.Contains(got, "hello from web") {
			t.Errorf("curl %s prints %q", url, got)
		}
	}
	says(t, "tcp", b.netns.Addr()+":8081")
	if _, err := hello(t, "tcp", b.netns.Addr()+":8080"); err == nil {
		t.Error("other hosts reach what the bastion should listen on for itself alone")
	}
}
