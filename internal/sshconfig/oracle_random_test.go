package sshconfig

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pool are lines of which random files are made. INC stands for the directory
// of files to include.
var pool = strings.Split(strings.TrimSpace(`
Host a
Host b c
Host *
Host !a *
Host ? !c
Host *.example.com
Host "a" 'b c'
Host a.example.com !b
Match all
Match host a
Match host a,b,!c
Match host *.example.com,!a.*
Match originalhost b
Match !originalhost b
Match user deploy
Match user d*,!root host *
Match !user deploy host a*
Match localuser nobody,USER originalhost a,c
Match final
Match !final
Match final host *.example.com
Match canonical user root
Match tagged t
Match final all
Include INC/0
Include INC/1 INC/2
Include INC/[01]
Include INC/nothing*
HostName %h.example.com
HostName B
HostName c.%h%%
HostName 10.0.0.1
Port 22
Port=2222
User deploy
User = root
  User "two words"
IdentityFile ~/.ssh/%h
IdentityFile /id_%r # with a comment
IdentityFile none
CertificateFile /c1
CertificateFile "/c 2"
IdentitiesOnly yes
IdentitiesOnly no
IdentityAgent none
IdentityAgent /%h/%r/%p/%n
UserKnownHostsFile /%k/%h "/b \"c" ~/%r
UserKnownHostsFile /%C /%p/%u/%i/%j/%L
GlobalKnownHostsFile /g1 /g2
HostKeyAlias k%h
StrictHostKeyChecking off
StrictHostKeyChecking yes
StrictHostKeyChecking ask
ProxyJump none
ProxyJump j
ProxyJump u@j:1,k
ProxyCommand none
ProxyCommand nc "%h" %p # all of it
ServerAliveInterval 1h30m
ServerAliveInterval 0
ServerAliveCountMax 9
ConnectTimeout 2m
RekeyLimit 2G none
RekeyLimit default 1h
AddressFamily inet6
BindAddress 127.0.0.2
RequiredRSASize 4096
Ciphers ^aes256-ctr
MACs -*sha1*
Tag t
ForwardAgent yes
LocalForward 8080 a:80
LocalForward [::1]:8080 [2001:db8::1]:80
LocalForward *:81 a:http
LocalForward /s /t
RemoteForward 9000 localhost:3000
RemoteForward :9001 /s
RemoteForward 1080
DynamicForward 1080
DynamicForward localhost:1081
ClearAllForwardings no
ClearAllForwardings yes
GatewayPorts yes
`), "\n")

// TestOracleRandom compares random files with what `ssh -G` makes of them.
func TestOracleRandom(t *testing.T) {
	ssh := lookSSH(t)
	pool := pool
	tagged := writeFile(t, filepath.Join(t.TempDir(), "tagged"), "Tag t\nMatch tagged t\nPort 9\n")
	if _, err := ssh.output("-G", "-F", tagged, "x"); err != nil {
		// Before OpenSSH 9.4 there were no tags, and no %j, which is in %C now;
		// and to ask for all but the final pass was to ask for that.
		pool = slices.DeleteFunc(slices.Clone(pool), func(l string) bool {
			return strings.Contains(l, "%j") || strings.HasPrefix(l, "Tag") || l == "Match !final" || strings.HasPrefix(l, "Match tagged")
		})
	}
	ssh.learnAlgorithms(t)
	reader := userReader(t)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
	for round := range 20 {
		dir := t.TempDir()
		some := func(n int, deepest bool) string {
			var lines []string
			for range n {
				l := pool[random.IntN(len(pool))]
				if deepest && strings.HasPrefix(l, "Include") {
					continue
				}
				lines = append(lines, strings.NewReplacer("INC", dir, "USER", reader.User).Replace(l))
			}
			return strings.Join(lines, "\n") + "\n"
		}
		for i := range 3 {
			writeFile(t, filepath.Join(dir, fmt.Sprint(i)), some(6, true))
		}
		config := some(25, false)
		file := writeFile(t, filepath.Join(dir, "config"), config)
		for _, alias := range []string{"a", "b", "c.example.com"} {
			h, err := (&Reader{Home: reader.Home, User: reader.User, UID: reader.UID, Hostname: reader.Hostname}).Resolve(alias, file, Written{})
			_, sshErr := ssh.output("-G", "-F", file, alias)
			if err != nil && strings.Contains(err.Error(), "ProxyJump: ") {
				continue // a circle, which ssh -G does not look at
			}
			if (err == nil) != (sshErr == nil) {
				t.Errorf("%s: %v; ssh: %v", alias, err, sshErr)
			} else if err == nil {
				ssh.compare(t, file, h)
			}
		}
		if t.Failed() {
			for i := range 3 {
				content, _ := os.ReadFile(filepath.Join(dir, fmt.Sprint(i)))
				t.Logf("file %d:\n%s", i, content)
			}
			t.Fatalf("round %d:\n%s", round, config)
		}
	}
}
