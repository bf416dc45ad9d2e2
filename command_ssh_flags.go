package sshtunnel

// command_ssh_flags.go takes the flags that users of ssh and autossh type.

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// sshFlags are flags of ssh and autossh.
type sshFlags struct {
	ipv4, ipv6, gateway, background bool
	bind, ciphers, macs, monitor    string
	written                         []string // -o, as it is written
	refused                         map[string]*string
}

// harmlessFlags change nothing here: there is no session, and so no command, no
// terminal and nothing to forward but connections.
const harmlessFlags = "NTnCaxAXYkK2ty"

// refusedFlags would change something that is not supported. Each has an argument.
var refusedFlags = map[string]string{
	"B": "binding to an interface is not supported; write its address behind -b",
	"E": "there is no log file; write 2>> FILE behind the command",
	"I": "PKCS#11 is not supported; add the token's keys to ssh-agent with ssh-add -s, and leave -I out",
	"O": "there is no connection to share; Ctrl-C ends the command",
	"S": "connections are not shared; leave -S out",
	"s": "there is no session for a subsystem; use ssh for that",
	"W": "standard input and output are not forwarded; use -L, or ssh -W",
	"w": "tunnel devices are not supported; use -L, -R or -D, or ssh -w",
}

// add adds the flags. Help does not list them: it names them.
func (s *sshFlags) add(f *pflag.FlagSet) {
	hidden := func(name string) { _ = f.MarkHidden(name) }
	for _, letter := range harmlessFlags {
		name := "ssh-" + string(letter)
		f.BoolP(name, string(letter), false, "changes nothing")
		hidden(name)
	}
	s.refused = map[string]*string{}
	for letter := range refusedFlags {
		name := "ssh-" + letter
		s.refused[letter] = f.StringP(name, letter, "", "not supported")
		hidden(name)
	}
	f.BoolVarP(&s.ipv4, "ipv4", "4", false, "AddressFamily inet")
	f.BoolVarP(&s.ipv6, "ipv6", "6", false, "AddressFamily inet6")
	f.BoolVarP(&s.gateway, "gateway-ports", "g", false, "GatewayPorts yes")
	f.BoolVarP(&s.background, "background", "f", false, "not supported")
	f.StringVarP(&s.bind, "bind-address", "b", "", "BindAddress")
	f.StringVarP(&s.ciphers, "ciphers", "c", "", "Ciphers")
	f.StringVarP(&s.macs, "macs", "m", "", "MACs")
	f.StringP("escape-char", "e", "", "changes nothing")
	f.StringVarP(&s.monitor, "monitor", "M", "", "autossh's port")
	for _, name := range []string{"ipv4", "ipv6", "gateway-ports", "background", "bind-address", "ciphers", "macs", "escape-char", "monitor"} {
		hidden(name)
	}
	f.StringArrayVarP(&s.written, "option", "o", nil, "an `option` as in ssh_config(5), such as -o ServerAliveInterval=30. Repeats")
}

// options returns the flags as lines of an ssh_config, in ssh's order of
// precedence. It refuses what is not supported.
func (s *sshFlags) options() ([]string, error) {
	if s.background {
		return nil, errors.New("-f: this stays in the foreground; to run it in the background, write & behind it, or make it a service: systemd-run --user caddy ssh-tunnel forward …")
	}
	for letter, value := range s.refused {
		if *value != "" && (letter != "S" || *value != "none") {
			return nil, fmt.Errorf("-%s: %s", letter, refusedFlags[letter])
		}
	}
	if s.monitor != "" && strings.Trim(s.monitor, "0123456789:") != "" {
		return nil, fmt.Errorf("-M: %q is no port; autossh's -M takes one, and is ignored here; ssh's -M shares connections, which is not supported: leave it out", s.monitor)
	}
	if s.ipv4 && s.ipv6 {
		return nil, errors.New("-4 contradicts -6; keep one of them")
	}
	var lines []string
	for _, line := range []struct {
		set  bool
		text string
	}{
		{s.ipv4, "AddressFamily inet"},
		{s.ipv6, "AddressFamily inet6"},
		{s.gateway, "GatewayPorts yes"},
		{s.bind != "", "BindAddress " + s.bind},
		{s.ciphers != "", "Ciphers " + s.ciphers},
		{s.macs != "", "MACs " + s.macs},
	} {
		if line.set {
			lines = append(lines, line.text)
		}
	}
	return append(lines, s.written...), nil
}
