package dial

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// notssh.go says what answers in the place of an SSH server, or that nothing does.

// shutOutWords are what sshd sends instead of a banner since OpenSSH 9.8, to a
// source that it penalises and past MaxStartups: it does not say which of the two.
// Before, it sent startupsWords, which is soon over.
const (
	shutOutWords  = "Not allowed at this time"
	startupsWords = "Exceeded MaxStartups"
)

// NotSSH explains what arrived instead of an SSH banner.
func (d *Dialer) NotSSH(data []byte) *failure.NotSSHError {
	words, _ := FirstWords([]byte(printable.Conceal(string(data[:min(len(data), 4*maxWords)]), d.proxySecrets()...)))
	_, port, _ := net.SplitHostPort(d.Address)
	e := &failure.NotSSHError{
		Message: fmt.Sprintf("it sent %q instead of an SSH banner", words),
		Fix:     fmt.Sprintf("write sshd's port behind the host, in place of %s: ss -tlnp on the bastion shows it", port),
		Class:   failure.ClassNetwork, Cause: failure.CauseNotSSH,
	}
	switch {
	case strings.HasPrefix(words, shutOutWords):
		e.Class = failure.ClassShutOut
		e.Message += ", as it does after too many failed logins from this address (PerSourcePenalties), or while too many are under way (MaxStartups)"
		e.Fix = "raise MaxStartups in the bastion's sshd_config, or exempt this machine with PerSourcePenaltyExemptList"
	case strings.HasPrefix(words, startupsWords):
		e.Message += ", as it does while too many logins are under way"
		e.Fix = "raise MaxStartups in the bastion's sshd_config"
	case isWebPage(words) && d.Proxy != nil:
		e.Cause = failure.CauseProxy
		e.Message = fmt.Sprintf("proxy %s connected, but sent a web page instead of an SSH banner: %q; log in on that page, or let the proxy pass SSH to %q", d.Proxy, words, d.Address)
		e.Fix = fmt.Sprintf("open the page with a browser on this machine, through %s, and do what it says; or let that proxy pass SSH to %s", d.Proxy, d.Address)
	case isTLS(data):
		e.Message += ": that is a TLS server"
	case isWebPage(words):
		e.Message += ": that is a web server"
	case d.Proxy != nil:
		e.Message = fmt.Sprintf("through proxy %s, it sent %q instead of an SSH banner", d.Proxy, words)
	}
	return e
}

// maxWords is how much of a server's first words an error shows, in bytes.
const maxWords = 100

// FirstWords returns the beginning of what a server has sent, as it may be shown,
// and reports whether there is an SSH banner in what it has sent: other lines may
// come before that (RFC 4253 section 4.2).
func FirstWords(data []byte) (words string, isSSH bool) {
	isSSH = bytes.HasPrefix(data, []byte("SSH-")) || bytes.Contains(data, []byte("\nSSH-"))
	return printable.Text(string(data[:min(len(data), maxWords)])), isSSH
}

// isTLS reports whether data begins with an alert of TLS (RFC 8446 section 6).
func isTLS(data []byte) bool { return bytes.HasPrefix(data, []byte{21, 3}) }

// isWebPage reports whether words are the beginning of what a web server sends.
func isWebPage(words string) bool {
	words = strings.ToLower(words)
	for _, start := range []string{"http/", "<!doctype", "<html", "<head", "<?xml", "<!--"} {
		if strings.HasPrefix(words, start) {
			return true
		}
	}
	return false
}

// proxySecrets are what a proxy may repeat, and nobody may see.
func (d *Dialer) proxySecrets() []string {
	if d.Proxy == nil {
		return nil
	}
	user, password, err := d.ProxyLogin()
	if err != nil {
		return nil // the proxy got none
	}
	return []string{base64.StdEncoding.EncodeToString([]byte(user + ":" + password)), password, user}
}

// NoBanner says that nothing came.
func (d *Dialer) NoBanner() string {
	switch {
	case len(d.Command) > 0:
		return "no SSH banner came"
	case d.Proxy != nil:
		return fmt.Sprintf("proxy %s connected, but no SSH banner came", d.Proxy)
	default:
		return "it accepted the connection, but sent no SSH banner"
	}
}
