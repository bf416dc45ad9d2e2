package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// sshFlags are flags of ssh and autossh.
type sshFlags struct {
	ipv4, ipv6, gateway          bool
	bind, ciphers, macs, monitor string
	tag                          string
	written                      []string // -o, as it is written
	flags                        *pflag.FlagSet
}

// harmlessFlags change nothing here: there is no session, and so no command, no
// terminal and nothing to forward but connections.
const harmlessFlags = "NTnCaxAXYkK2ty"

// refusedFlags ask for something that is not supported, by their letter. Those of
// switchFlags have no argument.
var refusedFlags = map[string]string{
	"1": "version 1 of SSH is not supported, by ssh neither; leave -1 out",
	"B": "binding to an interface is not supported; write its address behind -b",
	"E": "there is no log file; write 2>> FILE behind the command",
	"f": "this stays in the foreground; to run it in the background, write & behind it, or make it a service: systemd-run --user caddy ssh-tunnel forward …",
	"G": "the options in effect are not printed; run ssh -G",
	"I": "PKCS#11 is not supported; add the token's keys to ssh-agent with ssh-add -s, and leave -I out",
	"O": "there is no connection to share; Ctrl-C ends the command",
	"Q": "algorithms are not listed; run ssh -Q for those of ssh, and see the manual for those of Caddy",
	"S": "connections are not shared; leave -S out",
	"s": "there is no session for a subsystem; use ssh for that",
	"V": "it has no version of its own; run caddy version",
	"W": "standard input and output are not forwarded; use -L, or ssh -W",
	"w": "tunnel devices are not supported; use -L, -R or -D, or ssh -w",
}

const switchFlags = "1fGsV"

// add adds the flags. Help does not list them, except for -o: it names them.
func (s *sshFlags) add(to *pflag.FlagSet) {
	f := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, letter := range harmlessFlags {
		f.BoolP("ssh-"+string(letter), string(letter), false, "changes nothing")
	}
	for letter := range refusedFlags {
		if strings.Contains(switchFlags, letter) {
			f.BoolP("ssh-"+letter, letter, false, "not supported")
		} else {
			f.StringP("ssh-"+letter, letter, "", "not supported")
		}
	}
	f.BoolVarP(&s.ipv4, "ipv4", "4", false, "AddressFamily inet")
	f.BoolVarP(&s.ipv6, "ipv6", "6", false, "AddressFamily inet6")
	f.BoolVarP(&s.gateway, "gateway-ports", "g", false, "GatewayPorts yes")
	f.StringVarP(&s.bind, "bind-address", "b", "", "BindAddress")
	f.StringVarP(&s.ciphers, "ciphers", "c", "", "Ciphers")
	f.StringVarP(&s.macs, "macs", "m", "", "MACs")
	f.StringVarP(&s.tag, "tag", "P", "", "Tag")
	f.StringP("escape-char", "e", "", "changes nothing")
	f.StringVarP(&s.monitor, "monitor", "M", "", "autossh's port")
	f.VisitAll(func(flag *pflag.Flag) { flag.Hidden = true })
	to.AddFlagSet(f)
	s.flags = to
	to.StringArrayVarP(&s.written, "option", "o", nil, "an `option` as in ssh_config(5), such as -o ServerAliveInterval=30. Repeats")
}

// refuse refuses what is not supported.
func (s *sshFlags) refuse() error {
	for _, letter := range slices.Sorted(maps.Keys(refusedFlags)) {
		f := s.flags.ShorthandLookup(letter)
		if f.Changed && (letter != "S" || f.Value.String() != "none") {
			return fmt.Errorf("-%s: %s", letter, refusedFlags[letter])
		}
	}
	return nil
}

// options returns the flags as lines of an ssh_config, in ssh's order of
// precedence.
func (s *sshFlags) options() ([]string, error) {
	if s.monitor != "" && strings.Trim(s.monitor, "0123456789:") != "" {
		return nil, fmt.Errorf("-M: %q is not a port; autossh's -M takes one, and is ignored here; ssh's -M shares connections, which is not supported: leave it out", s.monitor)
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
		{s.tag != "", "Tag " + s.tag},
	} {
		if line.set {
			lines = append(lines, line.text)
		}
	}
	return append(lines, s.written...), nil
}
