package adminapi

// describe.go puts a tunnel's status into words, for the command status and the status
// page.

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/remote"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/report"
)

// expiryShown is how long before its end a certificate is worth a remark.
const expiryShown = 24 * time.Hour

// Remark is what somebody should know who looks after the tunnel.
type Remark struct {
	// Text says what is wrong, in the project's words.
	Text string
	// Error is the error, or "". It may be long, and contain words of the bastion.
	Error string
	// Cause classifies the error, and Host is the bastion that it is about. Both are
	// "" if there is no such error.
	Cause failure.Cause
	Host  string
}

// String returns the remark as one text.
func (r Remark) String() string {
	if r.Error == "" {
		return r.Text
	}
	return r.Text + ": " + r.Error // last, for it may be long
}

// Where names the bastion, or the first that is to be one, and the tunnel that leads
// there.
func (s *Status) Where() string {
	where := s.Host
	if where == "" && len(s.Hosts) > 0 {
		if where = s.Hosts[0]; len(s.Hosts) > 1 {
			where += fmt.Sprintf(" or %d more", len(s.Hosts)-1)
		}
	}
	if s.ProxyJump != "" {
		where += " via " + s.ProxyJump
	}
	return where
}

// ConnectionCount counts the connections, the draining ones apart.
func (s *Status) ConnectionCount() string {
	draining := 0
	for _, c := range s.Connections {
		if c.Class == report.ClassDraining {
			draining++
		}
	}
	count := fmt.Sprint(len(s.Connections) - draining)
	if draining > 0 {
		count += fmt.Sprintf(" + %d draining", draining)
	}
	return count
}

// Remarks returns what is wrong with the tunnel, or soon will be.
func (s *Status) Remarks(now time.Time) (remarks []Remark) {
	if s.State != report.StateUp && s.State != report.StateIdle {
		var r Remark
		var parts []string
		if e := s.LastError; e != nil {
			parts = append(parts, fmt.Sprintf("%s %s ago", e.Cause, printable.Duration(now.Sub(e.Time))))
			r = Remark{Error: e.Error, Cause: e.Cause, Host: e.Host}
		}
		if s.NextRetry != nil {
			parts = append(parts, "tries again in "+printable.Duration(max(0, s.NextRetry.Sub(now))))
		}
		if r.Text = strings.Join(parts, ", "); r.Text != "" {
			remarks = append(remarks, r)
		}
	}
	for _, a := range s.Attempts {
		// One at another host says why the tunnel is not there, and nothing of this one.
		if s.State == report.StateUp && a.Host == s.Host && a.Error != "" {
			text := fmt.Sprintf("another connection failed: %s %s ago", a.Cause, printable.Duration(now.Sub(a.Started)))
			if s.NextRetry != nil {
				text += ", tries again in " + printable.Duration(max(0, s.NextRetry.Sub(now)))
			}
			remarks = append(remarks, Remark{
				Text:  text,
				Error: a.Error, Cause: a.Cause, Host: a.Host,
			})
		}
	}
	if n := s.WaitingDials; n > 0 && s.State == report.StateUp {
		remarks = append(remarks, Remark{Text: fmt.Sprintf("full: %d dials wait for a channel", n)})
	}
	if p := s.Prohibited; p != nil {
		remarks = append(remarks, Remark{
			Text:  fmt.Sprintf("%s %s ago", p.Cause, printable.Duration(now.Sub(p.Time))),
			Error: p.Error, Cause: p.Cause, Host: p.Host,
		})
	}
	if t := s.CertificateExpires; t != nil {
		switch left := t.Sub(now); {
		case left <= 0:
			remarks = append(remarks, Remark{Text: "certificate expired " + printable.Duration(-left) + " ago"})
		case left < expiryShown:
			remarks = append(remarks, Remark{Text: "certificate expires in " + printable.Duration(left)})
		}
	}
	for _, f := range s.Forwards {
		if f.State == remote.Listening || f.State == remote.Waiting && s.State != report.StateUp {
			continue
		}
		remarks = append(remarks, Remark{Text: fmt.Sprintf("%s %s: %s", f.Kind, f.Listen, f.State), Error: f.Error})
	}
	return remarks
}
