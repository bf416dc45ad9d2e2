//go:build linux

package e2e

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/fcgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// examples_runs_test.go has what each example is for happen, by its clients and
// its servers.

// exampleRuns are by the names of the examples.
var exampleRuns = map[string]func(e *example){
	"web-app":                  runWebApp,
	"service-discovery":        runServiceDiscovery,
	"postgres":                 runPostgres,
	"redis-tls":                runRedisTLS,
	"git":                      runGit,
	"php-fpm":                  runPHPFPM,
	"socks":                    runSOCKS,
	"home-server":              runHomeServer,
	"several-bastions":         runSeveralBastions,
	"jumps":                    runJumps,
	"short-lived-certificates": runShortLivedCertificates,
	"permit-open":              runPermitOpenExample,
	"kubernetes":               runKubernetes,
	"systemd-credential":       runSystemdCredential,
	"container":                runContainer,
	"status-page":              runStatusPage,
}

func runWebApp(e *example) {
	e.env = append(e.env, "PASSPHRASE=correct horse")
	b := e.bastion()
	e.write("etc/caddy/id_ed25519", b.identity.PEM("correct horse"))
	e.replace("/healthz", "/hello")
	b.serve80("web")
	e.site("app.example.com")
	e.run()
	e.serves("https://app.example.com/hello", "web")

	b.Stop()
	var out []byte
	sshtest.Eventually(e.t, patience, "Retry-After", func() bool {
		cmd := e.curl("-i", "https://app.example.com/hello")
		cmd.Args = slices.DeleteFunc(cmd.Args, func(arg string) bool { return arg == "--fail" })
		out, _ = cmd.CombinedOutput()
		return strings.Contains(strings.ToLower(string(out)), "retry-after: ")
	})
	if !strings.Contains(string(out), "503 Service Unavailable") {
		e.t.Errorf("while the bastion is away: %s", out)
	}
}

func runPostgres(e *example) {
	b := e.bastion()
	b.startPostgres()
	e.write("run/empty", nil)
	e.replace("/run/caddy/", e.home+"/run/")
	e.run()
	for _, host := range []string{"127.0.0.1", e.home + "/run"} {
		e.answers("app at 5432", func() *exec.Cmd {
			psql := e.inNetwork("psql", "--no-psqlrc", "--no-align", "--tuples-only", "-h", host, "-U", "app", "-d", "postgres",
				"-c", "select current_user || ' at ' || inet_server_port()")
			psql.Env = append(psql.Env, "PGPASSWORD="+postgresPassword, "PGCONNECT_TIMEOUT=10")
			return psql
		})
	}
}

func runRedisTLS(e *example) {
	b := e.bastion()
	b.startRedis()
	e.site("redis.example.com")
	e.run()
	redis := func(args ...string) *exec.Cmd {
		return e.inNetwork("redis-cli", append([]string{
			"-e", "--tls", "--cacert", sshtest.WriteFile(e.t, "ca.pem", e.ca.PEM()), "--sni", "redis.example.com", "-h", "redis.example.com", "-p", "6380",
		}, args...)...)
	}
	e.answers("PONG", func() *exec.Cmd { return redis("ping") })
	output(e.t, redis("set", "key", "value"))
	if got := output(e.t, redis("get", "key")); got != "value" {
		e.t.Errorf("redis-cli prints %q", got)
	}
}

func runGit(e *example) {
	b := e.bastion()
	// git.internal is the bastion itself: its sshd, and a web server.
	relay(e.t, b.netns.Listen("tcp", "127.0.0.1:22"), b.Addr())
	root := newGitRepository(e.t)
	server := &http.Server{
		Handler:           gitHandler(e.t, root),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{e.ca.Issue("git.example.com")}},
		ReadHeaderTimeout: patience,
	}
	l := b.netns.Listen("tcp", "127.0.0.1:443")
	go func() { _ = server.ServeTLS(l, "", "") }() // returns when it is closed
	e.t.Cleanup(func() { _ = server.Close() })
	e.hosts = append(e.hosts, "127.0.0.1 git.example.com")
	e.site("www.example.com")
	e.run()

	// Over SSH, whose server wants the repository to be the user's.
	readable, err := os.MkdirTemp("", "e2e")
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = os.RemoveAll(readable) })
	if err := os.Chmod(readable, 0o755); err != nil {
		e.t.Fatal(err)
	}
	output(e.t, client(e.t, "cp", "-r", root+"/repository", readable))
	output(e.t, client(e.t, "chown", "-R", "60100", readable+"/repository")) // deploy's, see addUsers
	known := sshtest.WriteFile(e.t, "known_hosts", []byte(sshtest.KnownHostsLine("git.example.com:2222", b.HostKey.PublicKey())+"\n"))
	for _, url := range []string{"ssh://deploy@git.example.com:2222" + readable + "/repository", "https://git.example.com/repository/.git"} {
		var clone string
		e.answers("", func() *exec.Cmd {
			clone = filepath.Join(e.t.TempDir(), "clone")
			cmd := e.inNetwork("git", "clone", "-q", url, clone)
			cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
				"GIT_SSL_CAINFO="+sshtest.WriteFile(e.t, "ca.pem", e.ca.PEM()),
				fmt.Sprintf("GIT_SSH_COMMAND=ssh -F none -i %s -o IdentityAgent=none -o UserKnownHostsFile=%s", b.key, known))
			return cmd
		})
		if got, want := readFile(e.t, clone+"/file"), readFile(e.t, root+"/repository/file"); string(got) != string(want) {
			e.t.Errorf("%s: the clone has %d bytes", url, len(got))
		}
	}
	e.answers("an ordinary site", func() *exec.Cmd { return e.curl("https://www.example.com") })
}

func runPHPFPM(e *example) {
	b := e.bastion()
	root, err := os.MkdirTemp("", "e2e") // of PHP-FPM, which is another user
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o777); err != nil {
		e.t.Fatal(err)
	}
	b.startPHP(root)
	e.replace("/run/php/php-fpm.sock", root+"/php.sock")
	e.replace("/srv/app", root)
	e.site("app.example.com")
	e.run()
	e.answers("/a/page of "+root+"/index.php", func() *exec.Cmd { return e.curl("https://app.example.com/a/page") })
}

// startPHP runs PHP-FPM inside, or where that is not installed another FastCGI
// server, on root/php.sock. root/index.php says which page it is asked for.
func (b *bastion) startPHP(root string) {
	b.t.Helper()
	servers, _ := filepath.Glob("/usr/sbin/php-fpm*") // where Debian has it
	if len(servers) == 0 {
		b.t.Log("php-fpm is not installed; another FastCGI server stands in for it")
		l := b.netns.Listen("unix", root+"/php.sock")
		// Returns when the test has ended, which closes l.
		go func() {
			_ = fcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, r.URL.Path+" of "+fcgi.ProcessEnv(r)["SCRIPT_FILENAME"]) //nolint:gosec // G705: no browser reads it
			}))
		}()
		if err := os.Chmod(root+"/php.sock", 0o777); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	for name, content := range map[string]string{
		"index.php": `<?php echo $_SERVER["REQUEST_URI"], " of ", __FILE__;`,
		"fpm.conf": fmt.Sprintf("[global]\nerror_log = %[1]s/log\ndaemonize = no\n[www]\n"+
			"listen = %[1]s/php.sock\nlisten.mode = 0666\npm = static\npm.max_children = 1\n", root),
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil { //nolint:gosec // G306: another user reads it
			b.t.Fatal(err)
		}
	}
	b.startInside("nobody", slices.Max(servers), "-F", "-n", "-y", root+"/fpm.conf")
}

func runSOCKS(e *example) {
	e.env = append(e.env, "ALICE_PASSWORD=correct horse", "BOB_PASSWORD=battery")
	b := e.bastion()
	other := b.serve80("web")
	b.serveWeb("a database", "127.0.0.1:5432")
	e.run()
	curl := func(login, url string) *exec.Cmd {
		return e.curl("--socks5-hostname", e.netns.Addr()+":1080", "--proxy-user", login, url)
	}
	for _, name := range []string{"orders", "billing", "reports"} {
		e.answers("hello from a database", func() *exec.Cmd {
			return curl("alice:correct horse", "http://"+name+".internal:5432/hello")
		})
	}
	output(e.t, curl("bob:battery", "http://orders.internal:5432/hello"))
	fails(e.t, curl("alice:correct horse", "http://web.internal/hello"))
	fails(e.t, curl("alice:correct horse", "http://db.internal:5432/hello"))
	fails(e.t, curl("alice:battery", "http://orders.internal:5432/hello"))
	if n := other.Accepted(); n != 0 {
		e.t.Errorf("what is not permitted was reached %d times", n)
	}
}

func runHomeServer(e *example) {
	b := e.host("vps.example.com", homeServer)
	e.trust(b)
	output(e.t, b.netns.Command(program(e.t, "sysctl"), "-w", "net.ipv4.ip_unprivileged_port_start=80"))
	sshtest.NewWeb(e.t, sshtest.WebOptions{Name: "home", Listener: e.netns.Listen("tcp", "127.0.0.1:3000")})
	e.site("home.example.com")
	e.run()
	at := func(args ...string) []string {
		return append(args, "--cacert", sshtest.WriteFile(e.t, "ca.pem", e.ca.PEM()),
			"--resolve", "home.example.com:443:"+b.netns.Addr(), "--resolve", "home.example.com:80:"+b.netns.Addr())
	}
	if got := b.curls(at("https://home.example.com/hello")...); got != "hello from home" {
		e.t.Errorf("got %q", got)
	}
	if !e.logged("handled request", "remote_ip:"+b.netns.Addr()) {
		e.t.Error("the access log does not have the visitor's address")
	}
	if got := b.curls(at("-o", "/dev/null", "-w", "%{redirect_url}", "http://home.example.com/page")...); got != "https://home.example.com/page" {
		e.t.Errorf("redirected to %q", got)
	}
}

func runSeveralBastions(e *example) {
	first, second := e.host("a.example.com", ""), e.host("b.example.com", "")
	first.serve80("the first")
	second.serve80("the second")
	both := first.identity.AuthorizedKey() + "\n"
	if err := os.WriteFile(second.keys, []byte(both), 0o600); err != nil {
		e.t.Fatal(err)
	}
	e.write("etc/caddy/id_ed25519", first.identity.PEM(""))
	e.write("etc/caddy/known_hosts", []byte(sshtest.KnownHostsLine("a.example.com:22", first.HostKey.PublicKey())+"\n"+
		sshtest.KnownHostsLine("b.example.com:22", second.HostKey.PublicKey())+"\n"))
	e.replace("/etc/caddy/", e.home+"/etc/caddy/")
	e.site("app.example.com")
	e.run()
	e.serves("https://app.example.com/hello", "the first")
	first.Stop()
	e.serves("https://app.example.com/hello", "the second")
}

func runJumps(e *example) {
	outer, inner := e.host("bastion.example.com", ""), newEmptyBastion(e.t, "")
	inner.netns.SetHosts("127.0.0.1 " + privateNames)
	relay(e.t, outer.netns.Listen("tcp", "127.0.0.1:22"), inner.Addr()) // inner.internal
	inner.serve80("behind both")
	outer.serve80("behind one")
	e.write("etc/caddy/id_outer", outer.identity.PEM(""))
	e.write("etc/caddy/id_inner", inner.identity.PEM(""))
	e.replace("/etc/caddy/", e.home+"/etc/caddy/")
	e.replace(fingerprint, outer.HostKey.Fingerprint())
	e.site("app.example.com")
	e.site("status.example.com")
	e.run()
	e.serves("https://app.example.com/hello", "behind both")
	e.serves("https://status.example.com/hello", "behind one")
	if hosts := output(e.t, e.command("ssh-tunnel", "known-hosts")); !strings.Contains(hosts, inner.HostKey.Fingerprint()) {
		e.t.Errorf("it remembers %q", hosts)
	}
}

func runShortLivedCertificates(e *example) {
	a := newAuthority(e.t)
	a.renew("-V", "+1h")
	b := e.host("bastion.example.com", "TrustedUserCAKeys "+filepath.Join(a.dir, "ca.pub"))
	b.serve80("web")
	hosts := sshtest.NewKey()
	certificate := sshtest.Certify(hosts, b.HostKey, ssh.Certificate{
		CertType: ssh.HostCert, ValidPrincipals: []string{"bastion.example.com"}, ValidBefore: uint64(time.Now().Add(time.Hour).Unix()),
	})
	b.Reconfigure("HostCertificate " + sshtest.WriteFile(e.t, "host-cert.pub", []byte(sshtest.AuthorizedKey(certificate)+"\n")) + "\n")
	e.replace("/run/caddy-ssh/id_ed25519-cert.pub", a.secret()+"/id-cert.pub")
	e.replace("/run/caddy-ssh/id_ed25519", a.secret()+"/id")
	e.replace("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGR1elHTBuE4d0w0vYWKIOLQUplKN2H0QcP3XvyHbFEv", hosts.AuthorizedKey())
	e.site("app.example.com")
	e.run()
	e.serves("https://app.example.com/hello", "web")
	a.renew("-V", "+1h")
	sshtest.Eventually(e.t, patience, "a login with the new certificate", func() bool {
		return strings.Contains(b.Log(), fmt.Sprintf(" ID renewal-%d ", a.n))
	})
	e.serves("https://app.example.com/hello", "web")
}

func runPermitOpenExample(e *example) {
	b := e.bastion()
	output(e.t, b.netns.Command("ip", "addr", "add", "10.20.0.7/32", "dev", "lo"))
	b.serveWeb("billing", "127.0.0.1:8080")
	b.serveWeb("a node", "10.20.0.7:9100")
	denied := b.serveWeb("another", "127.0.0.1:9100")
	e.content = strings.Replace(e.content, "{\n", "{\n\tskip_install_trust\n", 1) // of Caddy's own authority
	e.hosts = append(e.hosts, "127.0.0.1 billing.apps.example.com")
	e.site("nodes.example.com")
	e.run()
	e.answers("hello from billing", func() *exec.Cmd {
		return e.curl("--cacert", e.home+"/data/caddy/pki/authorities/local/root.crt", "https://billing.apps.example.com/hello")
	})
	e.serves("https://nodes.example.com/10.20.0.7/hello", "a node")
	for _, node := range []string{"127.0.0.1", "web.internal"} {
		cmd := e.curl("-o", "/dev/null", "-w", "%{http_code}", "https://nodes.example.com/"+node+"/hello")
		if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "403") {
			e.t.Errorf("%s, which is not permitted: %s", node, out)
		}
	}
	if n := denied.Accepted(); n != 0 {
		e.t.Errorf("what is not permitted was reached %d times", n)
	}
}

func runKubernetes(e *example) {
	b := e.host("bastion.example.com", "")
	b.serve80("web")
	// As a kubelet mounts a Secret.
	e.write("secret/..1/id_ed25519", b.identity.PEM(""))
	e.write("secret/..1/known_hosts", []byte(sshtest.KnownHostsLine("bastion.example.com:22", b.HostKey.PublicKey())+"\n"))
	for name, target := range map[string]string{"..data": "..1", "id_ed25519": "..data/id_ed25519", "known_hosts": "..data/known_hosts"} {
		if err := os.Symlink(target, filepath.Join(e.home, "secret", name)); err != nil {
			e.t.Fatal(err)
		}
	}
	e.replace("/etc/caddy-ssh/", e.home+"/secret/")
	e.run()
	e.serves("http://127.0.0.1:8080/hello", "web")

	// As a kubelet probes, which takes any status from 200 to 399 for ready.
	probe := func() string {
		return output(e.t, e.inNetwork("curl", "-sS", "--max-time", "5", "-w", "%{http_code}", "http://127.0.0.1:8081/ready"))
	}
	if got := probe(); got != "ready\n200" {
		e.t.Errorf("the probe got %q", got)
	}
	b.Stop()
	sshtest.Eventually(e.t, patience, "the probe fails", func() bool { return probe() == "prod\n503" })
}

func runContainer(e *example) {
	b := e.host("bastion.example.com", "")
	b.serve80("web")
	e.env = append(e.env, "BASTION_KEY="+base64.StdEncoding.EncodeToString(b.identity.PEM("")), "HOST_KEY="+b.HostKey.Fingerprint())
	e.run()
	e.serves("http://127.0.0.1:8080/hello", "web")
}

func runSystemdCredential(e *example) {
	b := e.host("bastion.example.com", "")
	b.serve80("web")
	// As systemd makes it: for the service's user alone, and only to be read.
	e.write("credentials/bastion_key", b.identity.PEM(""))
	e.write("credentials/known_hosts", []byte(sshtest.KnownHostsLine("bastion.example.com:22", b.HostKey.PublicKey())+"\n"))
	for _, name := range []string{"bastion_key", "known_hosts"} {
		if err := os.Chmod(filepath.Join(e.home, "credentials", name), 0o400); err != nil {
			e.t.Fatal(err)
		}
	}
	e.env = append(e.env, "CREDENTIALS_DIRECTORY="+e.home+"/credentials")
	e.site("app.example.com")
	e.run()
	e.serves("https://app.example.com/hello", "web")
}
