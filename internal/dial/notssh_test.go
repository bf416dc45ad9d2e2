package dial

import (
	"strings"
	"testing"
)

// TestNotSSH: what answers in the place of an SSH server is named.
func TestNotSSH(t *testing.T) {
	t.Parallel()
	d := &Dialer{Address: "bastion.example:443"}
	for sent, want := range map[string]string{
		"\x15\x03\x03\x00\x02\x02\x46":       "that is a TLS server",
		"HTTP/1.1 400 Bad Request\r\n":       "that is a web server",
		"<!DOCTYPE html>\n":                  "that is a web server",
		"Exceeded MaxStartups\r\n":           "while too many logins are under way",
		"Not allowed at this time\r\n":       "PerSourcePenalties",
		"220 mail.example ESMTP Postfix\r\n": `it sent "220 mail.example ESMTP Postfix`,
	} {
		e := d.NotSSH([]byte(sent))
		if !strings.Contains(e.Message, want) || e.Fix == "" {
			t.Errorf("%q: got %q, fix %q, want %q", sent, e.Message, e.Fix, want)
		}
	}
}
