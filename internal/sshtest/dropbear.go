//go:build unix

package sshtest

import (
	"crypto/ed25519"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// dropbear.go runs Dropbear, the other SSH server that is in wide use.

var dropbearAccepted = regexp.MustCompile(`(?m)\b\w+ auth succeeded for `)

// DropbearOptions say what a Dropbear is like. The zero value permits all that
// Dropbear can to the client key that it makes.
type DropbearOptions struct {
	// Args are added to dropbear(8)'s. Default: none.
	Args []string

	// BlankPassword gives our user an empty password, which needs root. With -B in
	// Args, the method "none" lets such a user in.
	BlankPassword bool
}

// Dropbear is a running Dropbear server. Whoever logs in is us.
type Dropbear struct{ *daemon }

// StartDropbear starts dropbear. It is stopped when the test ends, and its log
// printed if the test has failed. Where it is not installed, or of a version
// that we need to be root for and are not, the test is skipped.
func StartDropbear(t testing.TB, opts DropbearOptions) *Dropbear {
	t.Helper()
	path := Program(t, "dropbear")
	d := newDaemon(t, "127.0.0.1")

	// Dropbear's own form of a key; Go's private key is the two halves that it
	// wants.
	private := d.HostKey.Private().(ed25519.PrivateKey)
	keyFile := d.write("host_key", ssh.Marshal(struct {
		Type    string
		Private []byte
	}{ssh.KeyAlgoED25519, private}))

	wrapper, args := dropbearHome(t, d, path)
	if opts.BlankPassword {
		wrapper = append(wrapper, withBlankPassword(t, d, "dropbear")...)
	} else {
		args = append(args, "-s") // no passwords
	}
	d.listening, d.accepted = "Not backgrounding", dropbearAccepted
	d.command = func() *exec.Cmd {
		argv := append(append([]string(nil), wrapper...), path, "-F", "-E", "-m", "-p", d.Addr(), "-r", keyFile, "-P", "")
		argv = append(append(argv, args...), opts.Args...)
		return exec.Command(argv[0], argv[1:]...)
	}
	d.run()
	return &Dropbear{d}
}

// dropbearHome makes dropbear read our authorized_keys and not those in our home
// directory, which stays as it is. Versions from 2025 on take the directory as
// an argument. Before those it is always the home's .ssh.
func dropbearHome(t testing.TB, d *daemon, path string) (wrapper, args []string) {
	t.Helper()
	home := authorizedHome(t, d)
	// It prints its usage and fails.
	usage, _ := exec.Command(path, "-h").CombinedOutput()
	if strings.Contains(string(usage), "\n-D ") {
		return nil, []string{"-D", home + "/.ssh"}
	}
	return withHome(t, home, "this version of dropbear"), nil
}

// authorizedHome makes a home directory whose authorized_keys is the client key.
func authorizedHome(t testing.TB, d *daemon) string {
	t.Helper()
	home := t.TempDir()
	ssh := home + "/.ssh"
	if err := os.Mkdir(ssh, 0o700); err != nil {
		t.Fatal(err)
	}
	// Servers insist on modes that a temporary directory need not have.
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ssh+"/authorized_keys", []byte(d.ClientKey.AuthorizedKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return home
}

// withHome returns the wrapper for a command that puts another home directory in
// the place of ours for that process alone.
func withHome(t testing.TB, home, server string) (wrapper []string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatalf("looking up our user: %v", err)
	}
	return withMount(t, home, me.HomeDir, "a home of its own for "+server)
}

// withBlankPassword returns the wrapper for a command for which our user has an
// empty password.
func withBlankPassword(t testing.TB, d *daemon, server string) (wrapper []string) {
	t.Helper()
	why := "a user with an empty password for " + server
	Root(t, why)
	shadow, err := os.ReadFile("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(shadow), "\n")
	for i, line := range lines {
		if fields := strings.Split(line, ":"); fields[0] == d.User && len(fields) > 1 {
			fields[1] = ""
			lines[i] = strings.Join(fields, ":")
		}
	}
	return withMount(t, d.write("shadow", []byte(strings.Join(lines, "\n"))), "/etc/shadow", why)
}

// withMount returns the wrapper for a command that puts from in the place of to
// for that process alone. Where that is not possible the test is skipped.
func withMount(t testing.TB, from, to, what string) (wrapper []string) {
	t.Helper()
	Root(t, what)
	unshare := Program(t, "unshare")
	const script = `mount --bind "$1" "$2" && shift 2 && exec "$@"`
	return []string{unshare, "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", from, to}
}
