package command

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/hostport"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// commandBlocks are blocks as people have them.
const commandBlocks = `
Host prod-bastion
	HostName bastion.example.com
	User deploy
	Port 2222
	IdentityFile /keys/prod
	ProxyJump edge
	LocalForward 5432 db:5432
	LocalForward 127.0.0.1:8080 [2001:db8::1]:80
	LocalForward /run/here.sock /run/there.sock
	RemoteForward 9000 localhost:3000
	DynamicForward *:1080
	ServerAliveInterval 7
	ConnectTimeout 3
Host edge
	HostName edge.example.com
	User jump
	IdentityFile /keys/edge
Host quiet
	ClearAllForwardings yes
	LocalForward 1 a:1
	IdentitiesOnly yes
	AddressFamily inet6
Match host 10.* user root
	Port 99
	IdentityFile /keys/%r
`

// parsed returns what run gets of these arguments.
func parsed(t *testing.T, args ...string) (hops []hop, specs []hostport.Forward, err error) {
	t.Helper()
	var flags forwardFlags
	cmd := flags.command()
	refuseMisplaced(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return nil, nil, cmd.FlagErrorFunc()(cmd, err)
	}
	if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
		return nil, nil, err
	}
	return flags.plan(cmd.Flags().Args(), newOutput(io.Discard, &flags))
}

// TestCommandLikeSSH compares where the command goes, as whom and with what
// forwards, with what `ssh -G` says about the same arguments.
func TestCommandLikeSSH(t *testing.T) {
	t.Parallel()
	ssh := sshtest.Program(t, "ssh")
	file := sshtest.WriteFile(t, "config", []byte(commandBlocks))
	key := sshtest.WriteFile(t, "id", sshtest.NewKey().PEM(""))
	const forward = " -L 7:a:7"
	for _, line := range []string{
		"prod-bastion", "edge" + forward, "unknown" + forward, "me@prod-bastion", "-l me prod-bastion", "-p 22 prod-bastion", "ssh://me@prod-bastion:7",
		"-J other prod-bastion", "-J u@a:1,b prod-bastion", "-J none prod-bastion", "-i " + key + " prod-bastion", "-o User=o prod-bastion",
		"-o Port=7 -oUser=x prod-bastion", "-o HostName=10.1.1.1 -l root" + forward + " x", "root@10.0.0.1" + forward, "quiet" + " -oClearAllForwardings=no",
		"-4" + forward + " edge", "-6" + forward + " edge", "-b 127.0.0.1" + forward + " edge", "-NL 8080:web:80 prod-bastion", "-fNT" + forward + " edge",
		"-N -T -n -C -a -x -A -X -Y -k -K -2 -tt" + forward + " edge", "-NTnL 8080:web:80 -R 81:b:82 -D 1081 edge", "-L 5432:db:5432 prod-bastion",
		"-o 'LocalForward 9 b:9' edge", "-c aes128-ctr -m hmac-sha2-256" + forward + " edge",
		"-o ServerAliveInterval=30 -o ServerAliveCountMax=3 -o ExitOnForwardFailure=yes -o StrictHostKeyChecking=no" + forward + " edge",
		"-R 1080 edge", "-R *:1080 -R /run/socks edge", "-g -L 80:a:80 edge", "-o GatewayPorts=yes -L localhost:80:a:80 -D 81 edge", "::1" + forward, "-vvv" + forward + " edge",
	} {
		var args []string
		for piece := range strings.SplitSeq(line, "'") { // as a shell does
			if strings.Contains(piece, "LocalForward ") {
				args = append(args, piece)
			} else {
				args = append(args, strings.Fields(piece)...)
			}
		}
		background := slices.Contains(args, "-fNT")
		out, sshErr := exec.Command(ssh, slices.Concat([]string{"-G", "-F", file}, args)...).Output()
		hops, specs, err := parsed(t, append([]string{"-F", file}, args...)...)
		if background {
			if err == nil || !strings.Contains(err.Error(), "-f: this stays in the foreground") {
				t.Errorf("%s: got %v", line, err)
			}
			continue
		}
		if err != nil || sshErr != nil {
			t.Errorf("%s: %v; ssh: %v", line, err, sshErr)
			continue
		}
		compareCommand(t, line, hops, specs, string(out))
	}
}

func compareCommand(t *testing.T, line string, hops []hop, specs []hostport.Forward, out string) {
	t.Helper()
	want := make(map[string][]string)
	for l := range strings.Lines(out) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(l), " ")
		want[keyword] = append(want[keyword], value)
	}
	// ssh -G prints the socket of a LocalForward as if it were one of these, too.
	want["dynamicforward"] = slices.DeleteFunc(want["dynamicforward"], func(s string) bool { return strings.HasPrefix(s, "/") })
	last := hops[len(hops)-1]
	host, port, _ := net.SplitHostPort(last.cfg.Address)
	got := map[string][]string{
		"hostname": {host}, "port": {port}, "user": {last.cfg.User},
		"localforward": nil, "remoteforward": nil, "dynamicforward": nil,
	}
	for _, file := range last.cfg.IdentityFiles {
		if !file.Default {
			got["identityfile"] = append(got["identityfile"], file.Path)
		}
	}
	if len(hops) > 1 {
		if want["proxyjump"] == nil {
			t.Errorf("%s: there are %d hops", line, len(hops))
		}
	} else if want["proxyjump"] != nil {
		t.Errorf("%s: there is no hop, ssh has %s", line, want["proxyjump"])
	}
	keywords := map[hostport.ForwardKind]string{hostport.Local: "localforward", hostport.Remote: "remoteforward", hostport.Dynamic: "dynamicforward"}
	for _, spec := range specs {
		listen := sshAddress(spec.Listen, spec.NoBind)
		switch {
		case !spec.IsProxy():
			listen += " " + sshAddress(spec.Target, false)
		case spec.Kind == hostport.Remote:
			listen += " [socks]:0" // as ssh -G prints it
		}
		got[keywords[spec.Kind]] = append(got[keywords[spec.Kind]], listen)
	}
	for keyword, values := range got {
		wanted := want[keyword]
		slices.Sort(values)
		slices.Sort(wanted)
		if keyword == "identityfile" {
			for i, value := range wanted {
				wanted[i] = strings.ReplaceAll(value, "%r", last.cfg.User)
			}
		}
		if !slices.Equal(values, wanted) {
			t.Errorf("%s: %s is %q, ssh says %q", line, keyword, values, wanted)
		}
	}
}

// sshAddress writes an address as ssh -G does.
func sshAddress(e hostport.Endpoint, noBind bool) string {
	switch {
	case e.Path != "":
		return e.Path
	case noBind:
		return e.Port
	default:
		host := e.Host
		if host == "" {
			host = "*"
		}
		return fmt.Sprintf("[%s]:%s", host, e.Port)
	}
}

// TestCommandForwards checks which forwards of a command line and a file go
// together.
func TestCommandForwards(t *testing.T) {
	t.Parallel()
	file := sshtest.WriteFile(t, "config", []byte(commandBlocks))
	for line, want := range map[string]string{
		"-R 3301:a:80 -R 3301:b:80 edge":                             `-R "3301:a:80" and -R "3301:b:80" listen at the same place; remove one, or change its port`,
		"-L 3301:a:80 3301:b:80 edge":                                `-L "3301:b:80" and -L "3301:a:80" listen at the same place`,
		"-L 3301:a:80 -D 3301 edge":                                  `listen at the same place`,
		"-D 3301 -D 3301 edge":                                       "",
		"-R 3301:a:80 -R localhost:3301:a:80 edge":                   "",
		"-R 3301:a:80 -L 3301:b:80 edge":                             "", // there, and here
		"-R 127.0.0.1:3301:a:80 -R *:3301:b:80 edge":                 "", // the bastion decides
		"-R /s:a:80 -R /s:b:80 edge":                                 "listen at the same place",
		"-L 5432:other:5432 prod-bastion":                            `-L "5432:other:5432" and -L "5432:db:5432" listen at the same place`,
		"-o ClearAllForwardings=yes -L 5432:other:5432 prod-bastion": "",
		"-N -L 1:a:1 edge sleep":                                     `destination "edge" is not the last argument, and no command is run there; leave out what follows it, or write it last: edge`,
		"edge sleep":                                                 "no command is run there",
		"8080:web:80 me@edge:22 host uptime -a":                      "or write it last: 8080:web:80 me@edge:22",
		"8080:web:80 ssh://edge uptime":                              `destination "ssh://edge" is not the last`,
		"8080:web edge":                                              `forward "8080:web": write [bind:]port:host:hostport`,
		"8080 edge":                                                  `forward "8080": write [bind:]port:host:hostport`,
		"8080:80 edge":                                               `forward "8080:80": write [bind:]port:host:hostport`,
		"-R 0:a:80 edge":                                             `forward "0:a:80": port 0, which lets the SSH server choose one, is not supported; write a port`,
		"-R *:0:a:80 edge":                                           "port 0, which lets the SSH server choose one",
		"-R 0 edge":                                                  "port 0, which lets the SSH server choose one",
		"-o RemoteForward=0 edge":                                    `-o: forward "0": port 0, which`,
		"-R 80:a:0 edge":                                             `forward "80:a:0": port "0" is not a number from 1 to 65535`,
		"-Q cipher":                                                  "-Q: algorithms are not listed; run ssh -Q",
		"-G edge":                                                    "-G: the options in effect are not printed; run ssh -G",
		"-V":                                                         "-V: it has no version of its own; run caddy version",
		"-1 -L 1:a:1 edge":                                           "-1: version 1 of SSH is not supported",
		"-s -L 1:a:1 edge sftp":                                      "-s: there is no session for a subsystem",
		"-P blue -L 1:a:1 edge":                                      "",
		"-fN -L 1:a:1 edge":                                          "-f: this stays in the foreground",
		"-q -v -L 1:a:1 edge":                                        "-q contradicts -v; keep one of them",
		"-z edge":                                                    "unknown flag: -z; forward --help lists them",
		"-Nz edge":                                                   "unknown flag: -z;",
		"--nosuch=1 edge":                                            "unknown flag: --nosuch;",
		"edge -L":                                                    "-L has no value; write one behind it",
		"edge --known-hosts":                                         "--known-hosts has no value; write one behind it",
		"--verbose=yes -L 1:a:1 edge":                                "-v takes no value; write -v alone, or leave it out",
		"-N":                                                         "no destination; write it last",
		"-oProxyCommand=true -L 1:a:1 edge":                          "-o: ProxyCommand: running commands is not allowed, and none was run; to allow it, run export CADDY_SSH_TUNNEL_ALLOW_COMMANDS=1 and then this again",
		"-o Port=99999 -L 1:a:1 edge":                                `-o: Port: "99999" is not a port from 1 to 65535`,
		"-o ServerAliveCountMax=-1 -L 1:a:1 edge":                    `-o: ServerAliveCountMax: "-1" is not a number from 0 to 2147483647`,
		"quiet":                      "nothing to forward",
		"edge":                       "nothing to forward",
		"-o RemoteForward=1080 edge": "",
		"-M 0 -N -L 1:a:1 edge":      "",
		"-M 20000:7 -NL 1:a:1 edge":  "",
		"-M -N -L 1:a:1 edge":        `-M: "-N" is not a port`,
		"-S none -L 1:a:1 edge":      "",
		"-S /tmp/x -L 1:a:1 edge":    "-S: connections are not shared",
		"-W a:1 edge":                "-W: standard input and output",
		"-w 0 edge":                  "-w: tunnel devices",
		"-E log -L 1:a:1 edge":       "-E: there is no log file",
		"-4 -6 -L 1:a:1 edge":        "-4 contradicts -6",
		"-o Nosuch=1 -L 1:a:1 edge":  `-o: unknown keyword "Nosuch", which ssh refuses as well; remove it, or write -o IgnoreUnknown=Nosuch before it`,
		"-o IgnoreUnknown=Nosuch -o Nosuch=1 -L 1:a:1 edge": "",
		"-o Prot=1 -L 1:a:1 edge":                           `-o: unknown keyword "Prot"; did you mean Port?`,
		"-o Host=x -L 1:a:1 edge":                           "-o: Host stands in a file alone",
		"-o Port -L 1:a:1 edge":                             "-o: Port has no argument",
		"-L 1:a:1 u:secret@edge":                            "destination has a password in it; write [user@]host[:port], and use --password",
		"-J u:secret@j -L 1:a:1 edge":                       "jump has a password in it",
		"-F /nonexistent -L 1:a:1 edge":                     `reading "/nonexistent": no such file`,
	} {
		if !strings.HasPrefix(line, "-F") {
			line = "-F " + file + " " + line
		}
		_, _, err := parsed(t, strings.Fields(line)...)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
	hops, specs, err := parsed(t, "-F", file, "prod-bastion")
	if err != nil || len(specs) != 5 || hops[1].settings.ServerAliveInterval.Seconds() != 7 || hops[1].settings.ConnectTimeout.Seconds() != 3 ||
		hops[0].cfg.Address != "edge.example.com:22" || hops[0].cfg.User != "jump" || hops[0].cfg.IdentityFiles[0].Path != "/keys/edge" {
		t.Errorf("got %+v, %v, %v", hops, specs, err)
	}
}
