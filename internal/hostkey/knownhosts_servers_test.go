//go:build unix

package hostkey

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// hostLab is a set of real servers for the same name, and of keys for
// known_hosts lines.
type hostLab struct {
	servers map[string]*sshtest.SSHD
	keys    map[string]ssh.PublicKey
	client  *sshtest.Key
}

const labName = "b.example"

// newHostLab starts servers that have an Ed25519 key, an ECDSA key or both, with a
// certificate, without one, or with nothing else.
func newHostLab(t *testing.T) *hostLab {
	t.Helper()
	ed, ec, ca, other := sshtest.NewKey(), sshtest.NewECDSAKey(), sshtest.NewKey(), sshtest.NewKey()
	lab := &hostLab{
		servers: map[string]*sshtest.SSHD{},
		keys:    map[string]ssh.PublicKey{"ed": ed.PublicKey(), "ec": ec.PublicKey(), "ca": ca.PublicKey(), "other": other.PublicKey(), "rsa": sshtest.NewRSAKey(2048).PublicKey()},
		client:  sshtest.NewKey(),
	}
	certify := func(key *sshtest.Key, name string) *ssh.Certificate {
		return sshtest.Certify(ca, key, ssh.Certificate{CertType: ssh.HostCert, KeyId: "host", ValidPrincipals: []string{name}, ValidBefore: ssh.CertTimeInfinity})
	}
	lab.keys["edcert"] = certify(ed, labName)
	ecFile := sshtest.WriteFile(t, "ecdsa", ec.PEM(""))
	withEC := "HostKey " + ecFile + "\n"
	ecCert := withEC + "HostCertificate " + sshtest.WriteFile(t, "ecdsa-cert.pub", []byte(sshtest.AuthorizedKey(certify(ec, labName))+"\n")) + "\n"
	for name, opts := range map[string]sshtest.SSHDOptions{
		"plain":            {},
		"both":             {HostCertificate: certify(ed, labName)},
		"cert only":        {HostCertificate: certify(ed, labName), Config: "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\n"},
		"wrong cert only":  {HostCertificate: certify(ed, "c.example"), Config: "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com\n"},
		"two plain":        {Config: withEC},
		"two, one cert":    {Config: ecCert},
		"two, other cert":  {Config: withEC, HostCertificate: certify(ed, labName)},
		"ecdsa cert only":  {Config: ecCert + "HostKeyAlgorithms ecdsa-sha2-nistp256-cert-v01@openssh.com\n"},
		"cert, ecdsa only": {Config: withEC + "HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256\n", HostCertificate: certify(ed, labName)},
	} {
		opts.HostKey, opts.AuthorizedKeys = ed, []string{lab.client.AuthorizedKey()}
		lab.servers[name] = sshtest.StartSSHD(t, opts)
	}
	return lab
}

// line returns a known_hosts line with one of the lab's keys.
func (lab *hostLab) line(hosts, key string) string {
	return hosts + " " + sshtest.AuthorizedKey(lab.keys[key]) + "\n"
}

// accepts reports whether we, and whether ssh, accept a server that is reached at a
// port of labName, or under an alias, by known_hosts files.
func (lab *hostLab) accepts(t *testing.T, server string, port int, alias string, files ...string) (we, they bool, why string) {
	t.Helper()
	sshd := lab.servers[server]
	they, said := lab.sshAccepts(t, sshd, port, alias, files)

	cfg := &Config{Address: net.JoinHostPort(labName, strconv.Itoa(port)), KnownHosts: files, HostKeyAlias: alias}
	v, err := Load(t.Context(), cfg, zap.NewNop())
	if err != nil {
		return false, they, fmt.Sprintf("we: %v\nssh: %s", err, said)
	}
	conn, err := net.Dial("tcp", sshd.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _, _, err = ssh.NewClientConn(conn, cfg.Address, &ssh.ClientConfig{ // as no user
		Config: cfg.CryptoConfig(), HostKeyAlgorithms: v.Algorithms(), HostKeyCallback: v.Callback(t.Context()),
	})
	return v.Accepted() != nil, they, fmt.Sprintf("we: %v\nssh: %s", err, said)
}

// sshAccepts reports whether ssh logs in to a server as to labName, and what it says.
func (lab *hostLab) sshAccepts(t *testing.T, sshd *sshtest.SSHD, port int, alias string, files []string) (bool, string) {
	t.Helper()
	host, actual, _ := net.SplitHostPort(sshd.Addr())
	args := []string{"-F", "none", "-T", "-p", strconv.Itoa(port), "-i", sshtest.WriteFile(t, "id", lab.client.PEM("")), "-l", sshd.User}
	options := []string{
		"BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=60", "UpdateHostKeys=no", "GlobalKnownHostsFile=/dev/null",
		"ProxyCommand=" + sshtest.Program(t, "nc") + " " + host + " " + actual, "StrictHostKeyChecking=yes",
		"UserKnownHostsFile=" + strings.Join(files, " "), "HashKnownHosts=no", "LogLevel=ERROR",
	}
	if alias != "" {
		options = append(options, "HostKeyAlias="+alias)
	}
	for _, o := range options {
		args = append(args, "-o", o)
	}
	out, err := exec.CommandContext(t.Context(), sshtest.Program(t, "ssh"), append(args, labName, "true")...).CombinedOutput()
	return err == nil, string(out)
}

// TestHostCertificateFallback: whatever a server has and known_hosts says, we decide
// as ssh.
func TestHostCertificateFallback(t *testing.T) {
	t.Parallel()
	lab := newHostLab(t)
	for name, known := range map[string]string{
		"nothing":               "",
		"plain":                 lab.line(labName, "ed"),
		"plain ECDSA":           lab.line(labName, "ec"),
		"authority":             lab.line("@cert-authority "+labName, "ca"),
		"other authority":       lab.line("@cert-authority "+labName, "other"),
		"both":                  lab.line(labName, "ed") + lab.line("@cert-authority "+labName, "ca"),
		"plain, other CA":       lab.line(labName, "ed") + lab.line("@cert-authority *.example", "other"),
		"another of the type":   lab.line(labName, "other"),
		"another, authority":    lab.line(labName, "other") + lab.line("@cert-authority *", "ca"),
		"another type":          lab.line(labName, "rsa"),
		"two":                   lab.line(labName, "rsa") + lab.line(labName, "ed"),
		"certificate as a key":  lab.line(labName, "edcert"),
		"revoked key":           lab.line(labName, "ed") + lab.line("@revoked "+labName, "ed"),
		"revoked authority":     lab.line(labName, "ed") + lab.line("@revoked *", "ca"),
		"authority of a stem":   lab.line("@cert-authority b.*,!b.example", "ca") + lab.line(labName, "ed"),
		"authority is the key":  lab.line(labName, "ca"),
		"key is an authority":   lab.line("@cert-authority "+labName, "ed"),
		"authority, other type": lab.line("@cert-authority "+labName, "ca") + lab.line(labName, "rsa"),
	} {
		file := sshtest.WriteFile(t, "known_hosts", []byte(known))
		for server := range lab.servers {
			t.Run(name+"/"+server, func(t *testing.T) {
				t.Parallel()
				we, they, why := lab.accepts(t, server, 22, "", file)
				if we != they && !betterChoice(server, we, why) {
					t.Errorf("we accept: %v, ssh: %v\n%s", we, they, why)
				}
			})
		}
	}
}

// betterChoice reports whether we have asked a server with several keys for the one
// that is known, and ssh for a certificate that is not.
func betterChoice(server string, we bool, why string) bool {
	return we && (strings.HasPrefix(server, "two") || server == "cert, ecdsa only") && regexp.MustCompile("has changed|REVOKED|host key is known for").MatchString(why)
}

// randomLine is a line that somebody, or some program, may have written.
func (lab *hostLab) randomLine(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	patterns := []string{
		labName, labName, "B.Example", "c.example", "*.example", "b.?xample", "*", "!b.example", "!c.example", "!*", "[b.example]:2222", "[b.example]:22",
		"[*]:2222", "[b.example]:*", "[B.example]:2222", "![b.example]:2222", "b.example\u00a0", "*,*", "127.0.0.1", "[*", "b.example*", "**.example", "?.?xample", "*.*", "[b.example]:*2", "[[]b.example]:2222", "b.example:*", strings.Repeat("x", 1100), "B.EXAMPLE,", "#b.example", "@b.example", "|b.example", "b.example;", "prod", "!prod", "*:2222", "", "b.example.", "[b.example]", "!!b.example", "b.example:2222",
	}
	var hosts []string
	for range 1 + r.IntN(3) {
		hosts = append(hosts, pick(patterns...))
	}
	names := strings.Join(hosts, ",")
	odd := func(usual string, others ...string) string { // usual, nearly always
		if r.IntN(15) > 0 {
			return usual
		}
		return pick(others...)
	}
	if r.IntN(5) == 0 {
		salt := []byte(fmt.Sprintf("%020d", r.Uint64()))
		names = hashedName(salt, pick(labName, labName, "[b.example]:2222", "[b.example]:2222", "prod", "B.example", "c.example"))
		names = odd(names, names+",b.example", names+"x", "!"+names, "b.example,"+names, strings.Replace(names, "|1|", "|2|", 1), strings.TrimRight(names, "="), names+"|", names[2:], hashedName(salt[1:], labName))
	}
	marker := odd(pick("", "", "", "", "", "@cert-authority ", "@cert-authority  "), "@revoked ", "@revoked ", "@cert-authority @revoked ", "@ca ", "@Cert-Authority ", "@cert-authority\t", "@cert-authority,", "@ ")
	kind, blob, _ := strings.Cut(sshtest.AuthorizedKey(lab.keys[pick("ed", "ed", "ed", "ec", "ec", "ca", "ca", "ca", "other", "rsa", "edcert")]), " ")
	kind = odd(kind, "ssh-rsa", "rsa-sha2-512", "ssh-dss", "ssh-ed448", "SSH-ED25519", "1024", `no-pty,command="x y" `+kind, "cert-authority "+kind, kind+","+kind, kind+"-cert-v01@openssh.com", "0 "+kind)
	blob = odd(blob, blob[:len(blob)/2], blob+"=", blob+"==", blob+"AAAA", blob+"A", strings.TrimRight(blob, "="), "AAAA", blob+"\r", blob+"\x00", blob[:20]+" "+blob[20:],
		blob[:20]+"\t"+blob[20:], blob[:20]+"-"+blob[20:], strings.Replace(blob, "AAAA", "AAAB", 1), "35 "+strings.Repeat("1234567890", 30), blob+"#", `"`+blob+`"`)
	gap := func() string { return odd(" ", "\t", "  ", " \t ") }
	line := odd("", " ", "\t", "#", "\ufeff", "\ufeff", "\u00a0", "\f", "\v", "\r", "ssh-rsa ", "\"", " # ", ",", "\xff\xfe") + marker + names + gap() + kind + gap() + blob + pick("", " comment", odd("", "\tme@here", " # x", " ", "\r", "\x00", " "+strings.Repeat("long ", 4000), " \u00e9\xff"))
	return line + odd("\n", "\r\n", "\r\n", "\n\n", "\n# comment\n", "\r")
}

func hashedName(salt []byte, name string) string {
	return fmt.Sprintf("|1|%s|%s", base64.StdEncoding.EncodeToString(salt), base64.StdEncoding.EncodeToString(hashName(salt, name)))
}

// randomFilesEnv is how many files TestKnownHostsAtRandom tries, from which seed.
const randomFilesEnv = "KNOWN_HOSTS_FILES"

// TestKnownHostsAtRandom decides by random known_hosts files, and compares with ssh.
func TestKnownHostsAtRandom(t *testing.T) {
	t.Parallel()
	files, seed := 20, uint64(12)
	if s := os.Getenv(randomFilesEnv); s != "" {
		_, _ = fmt.Sscan(s, &files, &seed)
	}
	lab := newHostLab(t)
	servers := []string{"plain", "both", "cert only", "two, other cert", "ecdsa cert only", "wrong cert only"}
	dir := t.TempDir()
	accepted := 0
	for i := range files {
		r := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // it is to be the same each time
		text := ""
		for range 1 + r.IntN(4) {
			text += lab.randomLine(r)
		}
		server, port, alias := servers[r.IntN(len(servers))], []int{22, 2222}[r.IntN(2)], []string{"", "", "", "Prod"}[r.IntN(4)]
		file := filepath.Join(dir, strconv.Itoa(i))
		sshtest.Write(t, file, text)
		we, they, why := lab.accepts(t, server, port, alias, file)
		// ssh ignores a revocation that it cannot read.
		if we != they && !betterChoice(server, we, why) && !strings.Contains(why, "is to revoke a key and cannot be read") {
			t.Errorf("file %d, server %q, port %d, alias %q: we accept: %v, ssh: %v\n%q\n%s", i, server, port, alias, we, they, strings.SplitAfter(text, "\n"), why)
		}
		if they {
			accepted++
		}
	}
	t.Logf("%d of %d accepted", accepted, files)
	if accepted < files/10 {
		t.Errorf("only %d of %d files accept a server: they test nothing", accepted, files)
	}
}
