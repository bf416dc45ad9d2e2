package tunnel

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestLoginKeys: each field of a Config says something of who we are, of who they
// are, or of neither. A new one must be put somewhere: what is missing among the
// credentials would keep a tunnel out for what another has got wrong.
func TestLoginKeys(t *testing.T) {
	t.Parallel()
	credentials := []string{"User", "IdentityFiles", "CertificateFiles", "IdentityAgent", "IdentitiesOnly", "Password", "PreferredAuthentications", "PubkeyAcceptedAlgorithms", "RequiredRSASize"}
	hostKeys := []string{
		"KnownHosts", "HostKeys", "HostCertificateAuthorities", "HostKeyAlias", "RevokedHostKeys", "AcceptNewHostKey",
		"InsecureIgnoreHostKey", "HostKeyAlgorithms", "CASignatureAlgorithms", "RequiredRSASize",
	}
	neither := []string{"Address", "NoIdentityFiles", "Proxy", "ProxyCommand", "BindAddress", "AddressFamily", "KexAlgorithms", "Ciphers", "MACs"}
	unknown := []string{"Name", "Fallbacks", "OptionalCertificates", "DialContext", "Resolve"} // no part of any

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
	jump := func(name, address string, jump *Handle) *Handle {
		return &Handle{cfg: Config{Name: name, Address: address}, jump: jump}
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

// TestSameBytes: a key file that is written again as it was brings no login about,
// and one that has changed does.
func TestSameBytes(t *testing.T) {
	key, stranger := sshtest.NewKey(), sshtest.NewKey()
	bastion := bastionFor(t, key, nil)
	cfg := configFor(t, stranger, bastion.HostKeyFingerprint(), bastion.Addr())
	h := open(t, cfg, quick())
	_, err := dialFor(t, h, "web:80", sshtest.Patience)
	if _, ok := errors.AsType[*failure.AuthError](err); !ok {
		t.Fatalf("got %v, want an AuthError", err)
	}
	limiter, login := h.pool.hosts[0].limiter, h.pool.hosts[0].login
	limiter.Postpone(login.Credentials, time.Now().Add(10*time.Minute))
	attempts := limiter.Failures(login)
	path := cfg.IdentityFiles[0].Path
	same, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		replaceFile(t, path, same)
		h.pool.mu.Lock()
		h.pool.wake()
		h.pool.mu.Unlock()
		time.Sleep(3 * fileSettle)
	}
	if n := limiter.Failures(login) - attempts; n != 0 {
		t.Errorf("%d attempts for the same bytes", n)
	}
	replaceFile(t, path, key.PEM(""))
	sshtest.Eventually(t, 4*filePoll, "a login with the new key", func() bool { return len(h.pool.activeMembers()) > 0 })
}

// replaceFile puts a new file in the place of another.
func replaceFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
