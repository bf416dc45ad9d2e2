package permit

import (
	"net"
	"slices"
	"strconv"
)

// maxPorts is how many ports of a range OpenSSH returns one by one.
const maxPorts = 16

// OpenSSH returns the patterns as the arguments of permitopen in authorized_keys (sshd(8)),
// which compares strings: a host is one host or *, a port one port or *, and a socket is a
// host. wider are the patterns that permit less here than there. If only *:* would do, which
// permits every socket as well, all is true and wider has the pattern that needs it.
func (l List) OpenSSH() (arguments, wider []string, all bool) {
	for i, p := range l.patterns {
		host := "*"
		switch {
		case p.isSocket() && p.socketsFrom:
			return nil, []string{l.texts[i]}, true
		case p.isSocket():
			arguments = append(arguments, "["+p.socket+"]:*")
			continue
		case p.name != "":
			host = p.name + p.dot
		case p.addr.IsValid():
			host = p.addr.String()
		}
		isWider := host == "*" && !p.anyHost
		switch count := int(p.last) - int(p.first); {
		case p.first == 1 && p.last == 65535:
			arguments = append(arguments, net.JoinHostPort(host, "*"))
		case count >= maxPorts:
			isWider = true
			arguments = append(arguments, net.JoinHostPort(host, "*"))
		default:
			for port := int(p.first); port <= int(p.last); port++ {
				arguments = append(arguments, net.JoinHostPort(host, strconv.Itoa(port)))
			}
		}
		if slices.Contains(arguments, "*:*") {
			return nil, []string{l.texts[i]}, true
		}
		if isWider {
			wider = append(wider, l.texts[i])
		}
	}
	return arguments, wider, false
}
