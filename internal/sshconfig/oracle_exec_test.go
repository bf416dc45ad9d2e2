package sshconfig

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

// execReader is userReader where commands are allowed.
func execReader(t *testing.T) *Reader {
	r := userReader(t)
	r.Exec = func(command string) (bool, error) {
		err := (&subprocess.Command{Option: "Match exec", Args: subprocess.Shell(command)}).Run(t.Context())
		if status, ok := subprocess.Status(err); ok {
			return status == 0, nil
		}
		return err == nil, err
	}
	return r
}

// TestOracleExec compares with `ssh -G` what Match exec decides on, what it is executed
// for, and which of it ssh refuses.
func TestOracleExec(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	ssh := lookSSH(t)
	ssh.learnAlgorithms(t)
	dir := t.TempDir()
	marks := filepath.Join(dir, "marks")
	for _, config := range []string{
		"Match exec true\n Port 2\nMatch exec false\n User x",
		"Match !exec true\n Port 2\nMatch !exec false\n User x",
		"Match exec=true user root,* exec \"exit 0\"\n Port 2",
		"Match exec \"exit 255\"\n Port 2\nMatch !exec \"exit 1\"\n User x",
		"Match exec no-such-command-anywhere\n Port 2\nMatch !exec /no/such/file\n User x",
		"Match exec \"kill -9 $$\"\n Port 2",
		"Match host other exec \"kill -9 $$\"\n Port 2",
		"Match exec %z\n Port 2", "Match exec \"echo 100%\"\n Port 2", "Match exec \"\"\n Port 2", "Match exec\n Port 2",
		"Host a\n HostName %h.example.com\n User deploy\n Port 2222\nMatch exec \"echo h=%h k=%k n=%n p=%p r=%r u=%u d=%d i=%i l=%l L=%L C=%C %% >> MARKS\"\n IdentityFile /x\nHost *\n HostKeyAlias alias\nMatch exec \"echo k=%k >> MARKS\"\n IdentityFile /y",
		"Match exec \"echo one >> MARKS; false\" exec \"echo two >> MARKS\"\n Port 2",
		"Match exec \"echo one >> MARKS\" exec \"echo two >> MARKS\" host b exec \"echo three >> MARKS\"\n Port 2",
		"Match exec \"echo $SSH_CONFIG_TEST ${SSH_CONFIG_TEST} ~ 'a  b' >> MARKS\"\n Port 2",
		"Match final exec \"test %h = a.example.com\"\n Port 2\nHost a\n HostName a.example.com",
		"Match exec \"cat\"\n Port 2\nMatch exec \"echo x; echo y >&2\"\n User x", // its input is empty, its output nothing
		"CanonicalizeHostname yes\nMatch canonical\n Port 4\nMatch final\n User x\nHost a\n HostName b",
		"Host j\n ProxyJump none\nHost *\nCanonicalizeHostname always\nProxyJump j\nMatch canonical host b\n Port 4\nHost a\n HostName b\nHost b\n User x",
		"CanonicalizeHostname yes\nCanonicalDomains none\nHost a\n HostName b\nHost b\n User x",
		"CanonicalizeHostname yes\nCanonicalDomains example.com\nHost a\n HostName b.c.d\nMatch canonical host b.c.d\n User x",
		"CanonicalizeHostname yes\nCanonicalDomains example.com\nProxyCommand x\nMatch canonical\n User x",
		"CanonicalizeHostname no\nCanonicalDomains example.com\nMatch canonical\n User x",
		"CanonicalizeMaxDots 0\nCanonicalizeMaxDots x", "CanonicalDomains .x", "CanonicalizePermittedCNAMEs x", "CanonicalizeHostname maybe",
		"NoHostAuthenticationForLocalhost yes\nProxyUseFdpass no", "ProxyUseFdpass maybe", "GSSAPIAuthentication maybe", "KnownHostsCommand /x %h # y\nPort 2",
	} {
		t.Setenv("SSH_CONFIG_TEST", "from the environment")
		file := writeFile(t, filepath.Join(dir, "config"), strings.ReplaceAll(config, "MARKS", marks))
		h, err := execReader(t).Resolve("a", file, Written{})
		got := takeLines(t, marks)
		_, sshErr := ssh.output("-G", "-F", file, "a")
		want := takeLines(t, marks)
		switch {
		case (err == nil) != (sshErr == nil):
			t.Errorf("%q: got %v; ssh: %v", config, err, sshErr)
		case err == nil:
			ssh.compare(t, file, h)
			if !slices.Equal(got, want) {
				t.Errorf("%q: executed are %q, by ssh %q", config, got, want)
			}
		}
		_ = os.Remove(marks)
	}
}

// takeLines returns the lines of a file without repetitions, and removes it.
func takeLines(t *testing.T, path string) []string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	_ = os.Remove(path)
	return slices.Compact(strings.Split(string(content), "\n"))
}

// TestOracleAddresses compares with `ssh -G` what is an address, and which one.
func TestOracleAddresses(t *testing.T) {
	ssh := lookSSH(t)
	ssh.learnAlgorithms(t)
	file := writeFile(t, filepath.Join(t.TempDir(), "config"), "Host 127.*\n User x\nMatch final host 127.0.0.1\n Port 2\n")
	for alias := range strings.FieldsSeq("127.1 127.0.1 0x7f.1 0X7F.0.0.1 017700000001 2130706433 1.2.3 1.2.65535 1.2.65536 08.1 1.2.3.4.5 5 0 256.1.1.1 1.2.3.256 4294967296 4294967295 1..2 1.2. 010.1 0x7f000001 0xg 1a ::ffff:1.2.3.4 1_0.1 0b1.1") {
		h, err := userReader(t).Resolve(alias, file, Written{})
		if err != nil {
			t.Errorf("%s: %v", alias, err)
			continue
		}
		ssh.compare(t, file, h)
	}
}

// TestMatchLikeN: what executes nothing is answered as for ssh -N.
func TestMatchLikeN(t *testing.T) {
	for criteria, want := range map[string]bool{
		"command \"\"": true, "!command \"\"": false, "command *": false, "command ls": false,
		"sessiontype none": true, "sessiontype n*,!x": true, "sessiontype shell,exec,subsystem": false, "!sessiontype shell": true,
		"version OpenSSH_*": true, "version OpenSSH_9.*,OpenSSH_8.*": false, "!version OpenSSH_8.*": true,
		"localnetwork 127.0.0.0/8": true, "localnetwork 127.0.0.1": true, "!localnetwork 127.0.0.0/8": false, "localnetwork 203.0.113.0/24,::1": true, "localnetwork 203.0.113.0/24": false, "localnetwork=0.0.0.0/0": true,
	} {
		h, warnings, err := resolved(t, "SessionType default\nRemoteCommand ls\nMatch "+criteria+"\n Port 7\n", "a", Written{})
		if err != nil || len(warnings) > 0 || (h.Port == 7) != want {
			t.Errorf("%s: got %v, %v, %q", criteria, h, err, warnings)
		}
	}
	for _, networks := range []string{"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "!10.0.0.0/8", "a", "10.0.0.0/8,", "fe80::1%lo", "::1/200"} {
		if _, _, err := resolved(t, "Match host other localnetwork "+networks+"\n", "a", Written{}); err == nil || !strings.Contains(err.Error(), ":1: Match localnetwork: ") {
			t.Errorf("%s: got %v", networks, err)
		}
	}
}

// TestSystemGSSAPI: what Debian's ssh_config has for everybody is not warned of.
func TestSystemGSSAPI(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "ssh_config"), "Include more\nHost *\n GSSAPIAuthentication yes\n SendEnv LANG\n")
	writeFile(t, filepath.Join(dir, "more"), "HostbasedAuthentication yes\n")
	r := &Reader{System: dir, Warn: func(w string) { t.Error(w) }}
	if _, err := r.Resolve("a", "", Written{}); err != nil {
		t.Error(err)
	}
	_, warnings, err := resolved(t, "GSSAPIAuthentication yes\nPreferredAuthentications publickey,password\n", "a", Written{})
	if err != nil || len(warnings) > 0 {
		t.Errorf("got %q, %v", warnings, err)
	}
}

// TestKnownHostsCommand: tokens that are not known, and a path that is not whole, are
// found when the file is read, if commands are allowed.
func TestKnownHostsCommand(t *testing.T) {
	for config, want := range map[string]string{
		"KnownHostsCommand /x '%h %H' \"%I\" %t %f %K %T %u%C%d%i%k%L%l%n%p%r # y": "",
		"KnownHostsCommand none":                          "",
		"KnownHostsCommand x %h":                          "absolute path",
		"KnownHostsCommand /x %z":                         "unknown token %z",
		"KnownHostsCommand /x 'y":                         "a quote is not closed",
		"KnownHostsCommand /x ${SSH_CONFIG_TEST_NOT_SET}": "is not set",
	} {
		r := userReader(t)
		r.Exec = func(string) (bool, error) { return false, nil }
		h, err := r.Resolve("a", writeFile(t, filepath.Join(t.TempDir(), "config"), config), Written{})
		switch {
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", config, err, want)
		case want == "" && err != nil:
			t.Errorf("%s: %v", config, err)
		case want == "" && !strings.Contains(config, "none") && !slices.Equal(h.KnownHostsCommand, []string{"/x", "%h %H", "%I", "%t", "%f", "%K", "%T", "%u%C%d%i%k%L%l%n%p%r", "#", "y"}):
			t.Errorf("%s: got %q", config, h.KnownHostsCommand)
		}
	}
}
