package connect

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
)

// TestLoginKeys: each field of a Config says something of who we are, of who they
// are, or of neither. A new one must be put somewhere: what is missing among the
// credentials would keep a tunnel out for what another has got wrong.
func TestLoginKeys(t *testing.T) {
	t.Parallel()
	credentials := []string{"User", "IdentityFiles", "Identities", "CertificateFiles", "Certificates", "IdentityAgent", "IdentitiesOnly", "Password", "PreferredAuthentications", "PubkeyAcceptedAlgorithms", "RequiredRSASize"}
	hostKeys := []string{
		"KnownHosts", "KnownHostsCommand", "TrustLoopback", "HostKeys", "HostCertificateAuthorities", "HostKeyAlias", "RevokedHostKeys", "AcceptNewHostKey",
		"InsecureIgnoreHostKey", "HostKeyAlgorithms", "CASignatureAlgorithms", "RequiredRSASize",
	}
	neither := []string{"Address", "NoIdentityFiles", "Proxy", "ProxyCommand", "ProxyShell", "ProxyUseFdpass", "BindAddress", "AddressFamily", "KexAlgorithms", "Ciphers", "MACs"}
	unknown := []string{"Name", "Fallbacks", "OptionalCertificates", "UpdateHostKeys", "DialContext", "Resolve"} // no part of any

	before := new(Config).login("")
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if field.Anonymous {
			continue
		}
		var cfg Config
		value := reflect.ValueOf(&cfg).Elem().FieldByName(field.Name)
		switch field.Type.Kind() {
		case reflect.String:
			value.SetString("x")
		case reflect.Bool:
			value.SetBool(true)
		case reflect.Int:
			value.SetInt(1)
		case reflect.Slice:
			value.Set(reflect.MakeSlice(field.Type, 1, 1))
		case reflect.Pointer:
			value.Set(reflect.New(field.Type.Elem()))
		}
		after := cfg.login("")
		if got, want := after.Credentials != before.Credentials, slices.Contains(credentials, field.Name); got != want {
			t.Errorf("%s among the credentials: %t, want %t", field.Name, got, want)
		}
		if got, want := after.HostKeys != before.HostKeys, slices.Contains(hostKeys, field.Name); got != want {
			t.Errorf("%s among the host keys: %t, want %t", field.Name, got, want)
		}
		if got, want := after.Reach != before.Reach, !slices.Contains(unknown, field.Name); got != want {
			t.Errorf("%s among all settings: %t, want %t", field.Name, got, want)
		}
		if !slices.Contains(slices.Concat(credentials, hostKeys, neither, unknown), field.Name) {
			t.Errorf("%s is in no list", field.Name)
		}
	}
}

// TestWayTo: the way to a bastion is what is on it, whatever a tunnel is called.
func TestWayTo(t *testing.T) {
	t.Parallel()
	jump := func(name, address string, via *Jump) *Jump {
		return &Jump{Config: &Config{Name: name, Address: address}, Via: via}
	}
	a, b := jump("a", "Edge:22", nil), jump("b", "edge:22", nil)
	var cfg Config
	if cfg.wayTo(a) != cfg.wayTo(b) {
		t.Error("it depends on the jump's name")
	}
	ways := []string{cfg.wayTo(nil), cfg.wayTo(a), cfg.wayTo(jump("a", "other:22", nil)), cfg.wayTo(jump("a", "edge:22", a))}
	cfg.Proxy = &dial.Proxy{Scheme: "http", Address: "proxy:3128"}
	ways = append(ways, cfg.wayTo(nil))
	slices.Sort(ways)
	if len(slices.Compact(ways)) != 5 {
		t.Errorf("these are not five: %q", ways)
	}
}

// TestContentStamp: a file that is written again as it was has not changed,
// whatever its time, its mode and its number are.
func TestContentStamp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "id")
	stamp := func() string { return contentStamp([]string{path}) }
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	absent := stamp()
	write("a key")
	first := stamp()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if stamp() != absent {
		t.Error("removed, it is not as before")
	}
	write("a key")
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if stamp() != first || first == absent {
		t.Error("written anew, it has changed")
	}
	write("b key")
	if stamp() == first {
		t.Error("a change of the same length is not seen")
	}

	cfg := Config{Password: "{env.P}"}
	value := "one"
	cfg.Resolve = func(string) (string, error) { return value, nil }
	before := cfg.secretStamp()
	if value = "two"; cfg.secretStamp() == before {
		t.Error("a secret that has changed is not seen")
	}
	if value = "one"; cfg.secretStamp() != before {
		t.Error("a secret that is back is not the same")
	}
}

// TestRoute: a host key is remembered for the way to its host.
func TestRoute(t *testing.T) {
	t.Parallel()
	outer := &Jump{Config: &Config{Address: "A.example:22"}}
	middle := &Jump{Config: &Config{Address: "[fd00::1]:2222", HostKeyAlias: "Middle"}, Via: outer}
	for want, c := range map[string]*Connector{
		"a.example":                            New(*outer.Config, nil, nil, nil, nil, nil),
		"middle via a.example":                 New(*middle.Config, outer, nil, nil, nil, nil),
		"[fd00::2]:2222 via a.example, middle": New(Config{Address: "[FD00::2]:2222"}, middle, nil, nil, nil, nil),
	} {
		if got := c.hostKeys(c.hosts[0]).Route().String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		c.Close()
	}
}
