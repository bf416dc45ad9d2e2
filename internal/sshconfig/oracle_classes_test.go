package sshconfig

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestOracleClasses compares with `ssh -G` what people write in many ways. Each
// variant is a file of its own. Not among them: tokens in User, which ssh knows
// since OpenSSH 10; addresses such as 127.1; patterns of algorithms, which do not
// bring in what is broken here; and CanonicalizeHostname, which is not supported.
func TestOracleClasses(t *testing.T) {
	ssh := lookSSH(t)
	ssh.learnAlgorithms(t)
	t.Setenv("SSH_CONFIG_TEST", "/from/environment")
	t.Setenv("SSH_CONFIG_PORT", "77")
	dir := t.TempDir()
	for name, content := range oracleIncludes {
		writeFile(t, filepath.Join(dir, name), strings.ReplaceAll(content, "INC", dir))
	}
	for name, content := range map[string]string{
		"[x].conf": "Port 61\n", "x.conf": "Port 62\n", "y.conf": "Host a\nPort 63\n", ".hidden.conf": "Port 64\n",
		"unclosed": "Host nobody\nPort 65\n", "final": "Match final\nPort 66\n", "tag": "Match host a\n IdentityFile /tag\n",
	} {
		writeFile(t, filepath.Join(dir, name), content)
	}
	reader := userReader(t)
	for i, config := range oracleVariants() {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			text := strings.NewReplacer("INC", dir, "USER", reader.User).Replace(config)
			file := writeFile(t, filepath.Join(dir, fmt.Sprintf("config%d", i)), text)
			h, err := userReader(t).Resolve("a", file, Written{})
			if err == nil {
				ssh.compare(t, file, h)
			} else if _, sshErr := ssh.output("-G", "-F", file, "a"); sshErr == nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("%q", config)
			}
		})
	}
}

// oracleVariants returns the files.
func oracleVariants() (all []string) {
	// Where and how a keyword is written.
	for _, form := range []string{
		"Port 7", "port 7", "PORT 7", "pOrT=7", "Port= 7", "Port =7", "Port\t=\t7", "Port  =  7  ", "Port \"7\"", "Port '7'", "Port=\"7\"", "\"Port\" 7", "Port 7 # x", "Port 7# x", "Port 7 #", "Port \"7\" #x",
		"\tPort\t7\t", " \t Port 7\r", "Port 7\f", "Port 0007", "Port +7", "Port ssh", "Port https", "Port 7 \\", "Port \\7", "Port \\\n7", "Port 7\\\nUser x", "User x\\ y", "User \"x y\"", "User 'x \"y'",
		"User \"x'y\"", "User x\"y z\"w", "User \"x\\\"y\"", "User \"x\\\\y\"", "User x\\\\y", "User \\#x", "User \"#x\"", "User x #y", "User x#y", "User #x", "User ''", "User 'x", "User x'", "User \"\"x", "User x,y", "User =x", "User ==x",
		"HostName A.Example.COM", "HostName %h.example.com", "HostName %%h", "HostName %n", "HostName 10.1.1.1", "HostName ::1", "HostName [::1]", "HostName 0:0:0:0:0:0:0:1", "HostName FE80::1%lo", "HostName a b", "HostName \"a.b\"",
		"HostName", "HostName=", "HostName \"\"", "HostName x # y", "HostName x.",
		"IdentityFile none", "IdentityFile NONE", "IdentityFile none\nIdentityFile /x", "IdentityFile /x\nIdentityFile none", "IdentityFile none\nIdentityFile none", "IdentityFile \"/a b\"", "IdentityFile /a b", "IdentityFile ~/x", "IdentityFile ~root/x", "IdentityFile %d/x", "IdentityFile ${SSH_CONFIG_TEST}/x",
		"CertificateFile /x\nCertificateFile /y\nCertificateFile /x", "CertificateFile none", "UserKnownHostsFile /a /b\nUserKnownHostsFile /c", "UserKnownHostsFile \"/a b\" '/c d'", "UserKnownHostsFile none /a", "GlobalKnownHostsFile ~/x %d/y",
		"UserKnownHostsFile ~/x %d/y ${SSH_CONFIG_TEST}/z", "Port ${SSH_CONFIG_PORT}", "HostName ${SSH_CONFIG_TEST}", "HostKeyAlias ${SSH_CONFIG_TEST}", "HostKeyAlias %h", "HostKeyAlias ABC\nUserKnownHostsFile /%k", "HostName ABC\nUserKnownHostsFile /%k/%h", "BindAddress ${SSH_CONFIG_TEST}",
		"Port 1\nPort 2", "User x\nUser y", "HostName x\nHostName y", "IdentitiesOnly yes\nIdentitiesOnly no", "StrictHostKeyChecking no\nStrictHostKeyChecking yes", "ProxyJump x\nProxyJump y\nHost x y\nProxyJump none", "ProxyJump none\nProxyJump y", "ProxyCommand none\nProxyJump y", "ProxyJump y\nProxyCommand x\nHost y\nProxyJump none", "ProxyCommand x\nProxyJump y", "ProxyCommand x\nProxyCommand y", "ProxyCommand none\nProxyCommand y",
		"ProxyCommand \"a b\" 'c' # d", "ProxyCommand=x %h", "ProxyCommand = x %h ", "ProxyCommand  \t x  y", "ServerAliveInterval 5\nServerAliveInterval 6", "RekeyLimit 1G\nRekeyLimit 2G 1h", "RekeyLimit default 1h\nRekeyLimit 1M 2h",
		"Ciphers aes128-ctr\nCiphers +aes256-ctr", "Ciphers +3des-cbc\nCiphers aes128-ctr", "LocalForward 80 a:80\nLocalForward 80 a:80", "RemoteForward 0 a:80", "RemoteForward *:0 a:80", "DynamicForward 1080\nDynamicForward 127.0.0.1:1080", "LocalForward=80 a:80", "LocalForward 80=a:80", "LocalForward 80:a:80", "LocalForward \"80\" \"a:80\"", "RemoteForward 80 [::1]:80", "RemoteForward [::1]:80 a:80", "LocalForward 80 ::1:80", "RemoteForward 1080\nRemoteForward 1080 a:80",
		"LocalForward ${SSH_CONFIG_TEST}/a /b", "LocalForward ${SSH_CONFIG_PORT} a:80", "GatewayPorts yes\nLocalForward 80 a:80", "GatewayPorts clientspecified", "ClearAllForwardings yes\nLocalForward 80 a:80",
	} {
		all = append(all, "Host a\n"+form+"\nHost *\nUser last\nPort 99")
	}
	// Which block matches.
	for _, head := range []string{
		"Host a", "Host=a", "Host = a", "host A", "Host \"a\"", "Host 'a' x", "Host a # b", "Host a,b.example.com", "Host a\tb.example.com", "Host *", "Host ?", "Host ??", "Host *.example.com", "Host *.example.com !b.*", "Host !b.example.com", "Host !a *", "Host * !a", "Host ! a", "Host !", "Host \"\"", "Host a \"\"", "Host 10.0.0.*", "Host 10.0.0.0/24", "Host *.*", "Host **", "Host a*", "Host [a]", "Host [ab]*", "Host \\a",
		"Match all", "Match All", "match ALL", "Match !all", "Match host a", "Match Host a", "Match host=a", "Match host \"a\"", "Match host a,b.example.com", "Match host a, b.example.com", "Match host \"a b\"", "Match host !a", "Match host *,!a", "Match !host a", "Match !host *,!a", "Match host *.EXAMPLE.com", "Match originalhost a", "Match originalhost A", "Match host 10.0.0.0/24", "Match host 10.0.0.?",
		"Match user USER", "Match user root,nobody", "Match user USER,!root", "Match user *", "Match !user *", "Match user ?*", "Match localuser USER", "Match !localuser USER", "Match localuser nobody", "Match user USER host a", "Match host a user USER", "Match host a host b.example.com", "Match host a !host a", "Match host a # x", "Match host a #",
		"Match final", "Match final all", "Match final host a", "Match host a final", "Match !final host a", "Match canonical", "Match canonical all", "Match !canonical host a", "Match canonical final", "Match all host a", "Match host a all", "Match host", "Match", "Match host a user", "Match nosuch x", "Match address 10.0.0.5", "Match host a exec", "Match final=x", "Match all=x", "Match host \"\"", "Match user \"\"",
	} {
		all = append(all, head+"\n HostName m.example.com\n Port 5\n User m\nHost m.example.com\n IdentityFile /m\nMatch user m\n IdentityFile /um")
	}
	// What is included.
	for _, include := range []string{
		"INC/*.conf", "INC/?.conf", "INC/[xy].conf", "INC/\\[x\\].conf", "INC/[!x].conf", "INC/[x].conf", "\"INC/*.conf\"", "INC/x.conf INC/y.conf", "INC/y.conf INC/x.conf", "INC", "INC/", "INC/nosuch", "INC/nosuch/*", "INC/{x,y}.conf", "INC/.*.conf", "=INC/x.conf", "INC/unclosed", "INC/final", "INC/tag", "~/nosuch", "~nosuchuser/x", "${SSH_CONFIG_TEST}/x", "%d/nosuch", "", "\"\"", "INC/x.conf # c", "INC/../nosuch/x.conf", "INC/x.conf INC/x.conf", "'INC/x.conf'", "INC/with\\ space", "\"INC/with space\"", "INC/with space",
	} {
		all = append(all, "Include "+include+"\nPort 1\nUser u", "Host nobody\n Include "+include+"\nHost *\n User u\n Include "+include)
	}
	// Names of algorithms that are one more way to write another.
	all = append(all,
		"KexAlgorithms curve25519-sha256@libssh.org", "KexAlgorithms sntrup761x25519-sha512@openssh.com", "KexAlgorithms curve25519-sha256@libssh.org,curve25519-sha256", "KexAlgorithms +curve25519-sha256@libssh.org", "KexAlgorithms -curve25519-sha256@libssh.org", "KexAlgorithms -curve25519*", "KexAlgorithms ^diffie-hellman-group14-sha1", "KexAlgorithms +diffie-hellman-group1-sha1,diffie-hellman-group14-sha1", "KexAlgorithms -*", "KexAlgorithms *",
		"Ciphers aes128-ctr,aes128-ctr", "Ciphers ^aes256-ctr,aes128-ctr", "Ciphers +aes128-cbc,3des-cbc", "Ciphers -aes*,chacha*", "Ciphers aes128-ctr ,aes256-ctr", "Ciphers aes128-ctr, aes256-ctr", "Ciphers \"aes128-ctr\"", "Ciphers +", "Ciphers rijndael-cbc@lysator.liu.se", "MACs hmac-sha2-256,", "MACs ^hmac-sha2-512-etm@openssh.com", "MACs -*-etm@openssh.com", "MACs hmac-sha256", "MACs +hmac-md5",
		"HostKeyAlgorithms +ssh-rsa", "HostKeyAlgorithms +ssh-dss", "HostKeyAlgorithms -rsa-sha2-*,*cert*", "HostKeyAlgorithms ssh-rsa", "PubkeyAcceptedKeyTypes +ssh-rsa", "PubkeyAcceptedAlgorithms -ssh-ed25519", "PubkeyAcceptedAlgorithms ^rsa-sha2-512", "PubkeyAcceptedAlgorithms ssh-rsa,rsa-sha2-256", "CASignatureAlgorithms ssh-ed25519", "CASignatureAlgorithms +ssh-rsa", "CASignatureAlgorithms ^rsa-sha2-256", "HostbasedKeyTypes ssh-ed25519", "HostbasedAcceptedAlgorithms +ssh-rsa",
		"AddressFamily inet", "AddressFamily INET6", "Protocol 2", "Protocol 1,2", "Cipher blowfish", "RSAAuthentication yes", "UseRoaming no", "UseKeychain yes", "IgnoreUnknown UseKeychain\nUseKeychain yes", "UseKeychain yes\nIgnoreUnknown UseKeychain", "IgnoreUnknown *\nFoo bar", "IgnoreUnknown a,b\nB x y z", "IgnoreUnknown !foo,*\nFoo x", "IgnoreUnknown foo\nIgnoreUnknown bar\nBar x", "IgnoreUnknown Foo\nHost nobody\nFoo x",
		"CanonicalizeHostname no\nMatch canonical\nPort 4",
	)
	return all
}
