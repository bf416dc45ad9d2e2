package hostkey

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestCheck: what cannot work for one of the servers is an error, and a warning that is
// about all of them comes once.
func TestCheck(t *testing.T) {
	t.Parallel()
	key := sshtest.AuthorizedKey(sshtest.PublicOf(t, sshtest.EdKey(1)))
	known := filepath.Join(t.TempDir(), "kh")
	absent := filepath.Join(t.TempDir(), "absent")
	sshtest.Write(t, known, "b.example "+key+"\njunk\n")
	for _, c := range []struct {
		name      string
		cfg       Config
		addresses []string
		warnings  []string
		err       string
	}{
		{name: "known", cfg: Config{HostKeys: []string{key}}, addresses: []string{"b.example:22", "c.example:22"}},
		{
			name: "one is known", cfg: Config{KnownHosts: []string{known}}, addresses: []string{"b.example:22", "c.example:2222"},
			warnings: []string{
				"known_hosts line kh:2 is skipped: too few words",
				"nothing in kh is about [c.example]:2222; this host is of no use until there is: add host_key or a known_hosts line, which 'caddy ssh-tunnel keyscan c.example:2222' prints",
			},
		},
		{
			name: "absent", cfg: Config{KnownHosts: []string{absent}}, addresses: []string{"b.example:22"},
			warnings: []string{
				"nothing in absent is about b.example; the tunnel is down until there is: add host_key or a known_hosts line, which 'caddy ssh-tunnel keyscan b.example' prints",
				`known_hosts "absent" does not exist; it is read once it does`,
			},
		},
		{name: "absent, accept-new", cfg: Config{KnownHosts: []string{absent}, AcceptNewHostKey: true}, addresses: []string{"b.example:22"}, warnings: []string{`known_hosts "absent" does not exist; it is read once it does`}},
		{
			name: "not checked", cfg: Config{InsecureIgnoreHostKey: true}, addresses: []string{"b.example:22", "c.example:22"},
			warnings: []string{`strict_host_key_checking no: whoever answers at "b.example:22" or "c.example:22" is trusted, and can read and change all that goes through the tunnel; add host_key or known_hosts instead`},
		},
		{
			name: "nothing", addresses: []string{"b.example:22"},
			err: `no known_hosts file or host_key to verify "b.example:22" against; run 'caddy ssh-tunnel keyscan b.example' and add the host_key that it prints`,
		},
		{name: "malformed", cfg: Config{HostKeys: []string{"SHA256:x"}}, addresses: []string{"b.example:22"}, err: `host_key "SHA256:x" is not a whole SHA256 fingerprint; copy it from ssh-keygen -lf`},
	} {
		t.Run(c.name, func(t *testing.T) {
			warnings, err := c.cfg.Check(c.addresses)
			for i := range warnings {
				warnings[i] = strings.NewReplacer(known, "kh", absent, "absent").Replace(warnings[i])
			}
			sshtest.WantError(t, err, c.err)
			if !slices.Equal(warnings, c.warnings) {
				t.Errorf("warnings %q, want %q", warnings, c.warnings)
			}
			if refused, ok := errors.AsType[*failure.HostKeyError](err); c.name == "nothing" && (!ok || refused.Cause != failure.CauseHostKeyUnknown) {
				t.Errorf("error of type %T", err)
			}
		})
	}
}
