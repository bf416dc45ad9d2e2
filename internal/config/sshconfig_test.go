package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

const fleet = `"ssh_config": {"alias": "inner", "file": "../../testdata/ssh_config/fleet"}`

// TestSSHConfig checks what each keyword becomes.
func TestSSHConfig(t *testing.T) {
	home := caddytest.SetHome(t)
	tun, logs, err := provisioned(t, `{`+fleet+`}`)
	if err != nil {
		t.Fatal(err)
	}
	kex, _ := algorithms.Defaults("kex_algorithms")
	ciphers, _ := algorithms.Defaults("ciphers")
	macs, _ := algorithms.Defaults("macs")
	want := tunnel.Config{
		Name:                 "prod",
		Address:              "10.0.0.2:22",
		User:                 "root",
		IdentityFiles:        []tunnel.IdentityFile{{Path: filepath.Join(home, ".ssh/inner"), Optional: true}},
		CertificateFiles:     []string{filepath.Join(home, ".ssh/inner-cert.pub")},
		OptionalCertificates: true,
		IdentityAgent:        "/nonexistent/agent",
		KnownHosts:           []string{filepath.Join(home, ".ssh/known-alias"), "/nonexistent/known"},
		HostKeyAlias:         "alias",
		BindAddress:          "127.0.0.1",
		AddressFamily:        "inet",
		Lists: algorithms.Lists{
			RequiredRSASize:          3072,
			KexAlgorithms:            append([]string{"ecdh-sha2-nistp521"}, slices.DeleteFunc(kex, func(s string) bool { return s == "ecdh-sha2-nistp521" })...),
			Ciphers:                  slices.DeleteFunc(ciphers, func(s string) bool { return strings.HasSuffix(s, "-ctr") }),
			MACs:                     append(macs, "hmac-sha1"),
			HostKeyAlgorithms:        []string{"ssh-ed25519"},
			PubkeyAcceptedAlgorithms: []string{"rsa-sha2-512", "ssh-ed25519"},
			CASignatureAlgorithms:    []string{"ssh-ed25519"},
		},
	}
	got := tun.Config
	got.Resolve = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	set := tun.Settings
	set.Logger = nil
	if want := (tunnel.Settings{
		ConnectTimeout: time.Minute, ServerAliveInterval: 7 * time.Second, ServerAliveCountMax: 1,
		ReconnectMin: defaultReconnectMin, ReconnectMax: defaultReconnectMax,
		RekeyBytes: maxRekeySize, RekeyInterval: time.Hour,
	}); set != want {
		t.Errorf("settings: got  %+v\nwant %+v", set, want)
	}

	var hops []string
	for _, hop := range tun.Hops {
		hops = append(hops, fmt.Sprintf("%s: %s@%s", hop.Config.Name, hop.Config.User, hop.Config.Address))
	}
	if want := []string{"ssh_config edge: edge@edge.example.com:22", "ssh_config middle: me@middle.example.com:2222"}; !slices.Equal(hops, want) {
		t.Fatalf("hops are %q, want %q", hops, want)
	}
	edge, middle := tun.Hops[0].Config, tun.Hops[1].Config
	if !edge.IdentitiesOnly || len(edge.IdentityFiles) != 1 || edge.IdentityFiles[0].Path != "/nonexistent/edge@edge" {
		t.Errorf("the first hop is identified by %+v", edge.IdentityFiles)
	}
	if middle.IdentitiesOnly || middle.IdentityAgent != "SSH_AUTH_SOCK" || len(middle.IdentityFiles) < 2 || middle.KnownHosts[0] != filepath.Join(home, ".ssh/known_hosts") {
		t.Errorf("the second hop has no defaults: %+v", middle)
	}
	if tun.Hops[0].Settings.ServerAliveInterval != 0 {
		t.Error("the first hop is probed")
	}
	for text, n := range map[string]int{
		`ssh_config: ../../testdata/ssh_config/fleet:43: PKCS11Provider is not supported and is ignored`: 1,
		"ssh_config: algorithms that are not supported are left out":                                     1,
	} {
		if got := logs.FilterLevelExact(zapcore.WarnLevel).FilterMessage(text).Len(); got != n {
			t.Errorf("%d lines say %q", got, text)
		}
	}
}

// TestSSHConfigLazyHops: with a lazy tunnel, those that it jumps through are lazy, and for
// no longer.
func TestSSHConfigLazyHops(t *testing.T) {
	caddytest.SetHome(t)
	tun, _, err := provisioned(t, `{`+fleet+`, "lazy": true, "lazy_timeout": "15m"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, hop := range tun.Hops {
		if set := hop.Settings; !set.Lazy || set.LazyTimeout != 15*time.Minute {
			t.Errorf("%s: lazy %t, for %s", hop.Config.Name, set.Lazy, set.LazyTimeout)
		}
	}
	if len(tun.Hops) == 0 {
		t.Error("there are no hops")
	}
}

// TestSSHConfigOverridden checks that what the tunnel says wins.
func TestSSHConfigOverridden(t *testing.T) {
	home := caddytest.SetHome(t)
	tun, _, err := provisioned(t, `{
		`+fleet+`,
		"hosts": ["[::1]:2022"],
		"user": "deploy",
		"identity_files": [{"path": "/nonexistent/id"}],
		"host_keys": ["`+caddytest.Fingerprint+`"],
		"proxy_jump": "other",
		"server_alive_interval": "1s",
		"server_alive_count_max": 9,
		"rekey_limit": {"size": 1000},
		"connect_timeout": "2s"
	}`)
	if err != nil {
		t.Fatal(err)
	}
	// The address is another: the block about 10.* is not for this tunnel.
	got := tun.Config
	if got.Address != "[::1]:2022" || got.User != "deploy" || got.HostKeyAlias != "" || len(got.KnownHosts) > 0 ||
		len(got.IdentityFiles) != 1 || got.IdentityFiles[0].Path != "/nonexistent/id" || !got.IdentitiesOnly {
		t.Errorf("got %+v", got)
	}
	if tun.Jump != "other" || len(tun.Hops) > 0 {
		t.Errorf("the jump is %q, and there are %d hops", tun.Jump, len(tun.Hops))
	}
	if set := tun.Settings; set.ServerAliveInterval != time.Second || set.ServerAliveCountMax != 9 || set.RekeyBytes != 1000 || set.RekeyInterval != 0 || set.ConnectTimeout != 2*time.Second {
		t.Errorf("settings are %+v", set)
	}

	for options, ok := range map[string]func(c tunnel.Config) bool{
		`"identity_files": [{"path": "/x"}]`: func(c tunnel.Config) bool {
			return c.IdentitiesOnly && len(c.IdentityFiles) == 1 && c.IdentityAgent == "/nonexistent/agent"
		},
		`"identity_agent": "none"`:         func(c tunnel.Config) bool { return c.IdentityAgent == "none" && len(c.IdentityFiles) == 1 },
		`"identities_only": true`:          func(c tunnel.Config) bool { return c.IdentitiesOnly },
		`"identities_only": false`:         func(c tunnel.Config) bool { return !c.IdentitiesOnly && c.IdentityAgent == "/nonexistent/agent" },
		`"password": "{env.HOME}"`:         func(c tunnel.Config) bool { return c.Password != "" && len(c.IdentityFiles) == 1 },
		`"known_hosts": ["/k"]`:            func(c tunnel.Config) bool { return slices.Equal(c.KnownHosts, []string{"/k"}) },
		`"host_key_alias": "mine"`:         func(c tunnel.Config) bool { return c.HostKeyAlias == "mine" },
		`"bind_address": "127.0.0.2"`:      func(c tunnel.Config) bool { return c.BindAddress == "127.0.0.2" && c.AddressFamily == "inet" },
		`"ciphers": ["aes128-ctr"]`:        func(c tunnel.Config) bool { return slices.Equal(c.Ciphers, []string{"aes128-ctr"}) },
		`"required_rsa_size": 4096`:        func(c tunnel.Config) bool { return c.RequiredRSASize == 4096 },
		`"strict_host_key_checking": "no"`: func(c tunnel.Config) bool { return c.InsecureIgnoreHostKey },
		`"certificate_files": ["/c"]`:      func(c tunnel.Config) bool { return slices.Equal(c.CertificateFiles, []string{"/c"}) },
		`"user": "you"`:                    func(c tunnel.Config) bool { return c.User == "you" && c.Address == "10.0.0.2:22" },
	} {
		tun, _, err := provisioned(t, `{`+fleet+`, `+options+`}`)
		if err != nil {
			t.Errorf("%s: %v", options, err)
		} else if !ok(tun.Config) {
			t.Errorf("%s: got %+v", options, tun.Config)
		}
	}

	// The tunnel's own key is used whatever PreferredAuthentications says.
	preferred := sshtest.WriteFile(t, "preferred", []byte("PreferredAuthentications password\n"))
	for options, want := range map[string][]string{"": {"password"}, `, "identity_files": [{"path": "/x"}]`: {"password", "publickey"}} {
		tun, _, err := provisioned(t, `{"ssh_config": {"alias": "a", "file": "`+preferred+`"}`+options+`}`)
		if err != nil || !slices.Equal(tun.Config.PreferredAuthentications, want) {
			t.Errorf("%s: got %+v, %v", options, tun.Config.PreferredAuthentications, err)
		}
	}

	// With neither, the default files are not read.
	none := sshtest.WriteFile(t, "none", []byte("UserKnownHostsFile none\nGlobalKnownHostsFile none\n"))
	tun, _, err = provisioned(t, `{"ssh_config": {"alias": "a", "file": "`+none+`"}, "password": "{env.HOME}"}`)
	if err != nil || !slices.Equal(tun.Config.KnownHosts, []string{os.DevNull}) {
		t.Errorf("without known_hosts: %+v, %v", tun.Config, err)
	}
	if tun, _, err = provisioned(t, `{"ssh_config": {"alias": "edge.example.com"}}`); err != nil || tun.Config.Address != "edge.example.com:22" || tun.Config.KnownHosts[0] != filepath.Join(home, ".ssh/known_hosts") {
		t.Errorf("without a file: %+v, %v", tun.Config, err)
	}
}

// TestSSHConfigAliases: an algorithm has two names, and hardening guides write either.
func TestSSHConfigAliases(t *testing.T) {
	caddytest.SetHome(t)
	for _, name := range []string{"curve25519-sha256@libssh.org", "curve25519-sha256"} {
		file := sshtest.WriteFile(t, "config", []byte("Host edge\nHostName edge.example.com\nKexAlgorithms "+name+"\n"))
		tun, logs, err := provisioned(t, `{"ssh_config": {"alias": "edge", "file": "`+file+`"}}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := tun.Config.KexAlgorithms; !slices.Equal(got, []string{name}) {
			t.Errorf("%s: got %q, logged %v", name, got, logs.All())
		}
	}
}

// TestAcceptNewPassword checks what may go with a password: what is learned
// may, as with ssh, but not whoever answers.
func TestAcceptNewPassword(t *testing.T) {
	for strict, ok := range map[string]bool{"accept-new": true, "no": false} {
		tun, logs, err := provisioned(t, `{"hosts": ["u@bastion"], "password": "{env.HOME}", "strict_host_key_checking": "`+strict+`"}`)
		if (err == nil) != ok {
			t.Errorf("%s: %v", strict, err)
		}
		if ok && (!tun.Config.AcceptNewHostKey || logs.Len() > 0) {
			t.Errorf("%s: %+v, %v", strict, tun.Config, logs.All())
		}
	}
}

// TestUpdateHostKeys: what is written counts before the files, and what was learned is
// updated by default.
func TestUpdateHostKeys(t *testing.T) {
	file := sshtest.WriteFile(t, "config", []byte("Host on\nUpdateHostKeys yes\nHost off\nUpdateHostKeys no\n"))
	alias := func(name string) string {
		return `"ssh_config": {"alias": "` + name + `", "file": "` + filepath.ToSlash(file) + `"}, `
	}
	const hosts, on, off = `"hosts": ["bastion"], `, `, "update_host_keys": true`, `, "update_host_keys": false`
	for options, want := range map[string]bool{
		hosts: true, hosts + "\x00" + on: true, hosts + "\x00" + off: false,
		alias("on"): true, alias("off"): false, alias("other"): true,
		alias("on") + "\x00" + off: false, alias("off") + "\x00" + on: true,
	} {
		before, after, _ := strings.Cut(options, "\x00")
		tun, _, err := provisioned(t, "{"+before+`"strict_host_key_checking": "accept-new"`+after+"}")
		if err != nil || tun.Config.UpdateHostKeys != want {
			t.Errorf("%q: %+v, %v", options, tun, err)
		}
	}
}

// TestSSHConfigHostKeys checks what the files say about host keys.
func TestSSHConfigHostKeys(t *testing.T) {
	home := caddytest.SetHome(t)
	for text, want := range map[string]tunnel.Config{
		"StrictHostKeyChecking no":                          {AcceptNewHostKey: true, UpdateHostKeys: true},
		"StrictHostKeyChecking off":                         {AcceptNewHostKey: true, UpdateHostKeys: true},
		"StrictHostKeyChecking accept-new":                  {AcceptNewHostKey: true, UpdateHostKeys: true},
		"StrictHostKeyChecking no\nUpdateHostKeys yes":      {AcceptNewHostKey: true, UpdateHostKeys: true},
		"StrictHostKeyChecking no\nUpdateHostKeys no":       {AcceptNewHostKey: true},
		"StrictHostKeyChecking no\nUpdateHostKeys ask":      {AcceptNewHostKey: true},
		"UpdateHostKeys yes":                                {},
		"StrictHostKeyChecking ask":                         {},
		"StrictHostKeyChecking yes\nRevokedHostKeys ~/r /s": {RevokedHostKeys: []string{filepath.Join(home, "r"), "/s"}},
		"RevokedHostKeys none":                              {},
	} {
		file := sshtest.WriteFile(t, "config", []byte("Host a\nHostName b.example\n"+text+"\n"))
		for options, strict := range map[string]bool{"": false, `, "strict_host_key_checking": "yes", "revoked_host_keys": ["/written"]`: true} {
			tun, _, err := provisioned(t, `{"ssh_config": {"alias": "a", "file": "`+filepath.ToSlash(file)+`"}`+options+`}`)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			got, want := tun.Config, want
			if strict {
				want = tunnel.Config{RevokedHostKeys: []string{"/written"}}
			}
			if got.AcceptNewHostKey != want.AcceptNewHostKey || got.UpdateHostKeys != want.UpdateHostKeys || strings.Join(got.RevokedHostKeys, " ") != strings.Join(want.RevokedHostKeys, " ") || got.InsecureIgnoreHostKey {
				t.Errorf("%s%s: got %+v", text, options, got)
			}
		}
	}
}

// TestMatchExec: the error about one that hangs or is killed names its line.
func TestMatchExec(t *testing.T) {
	t.Setenv(subprocess.Allow, "1")
	for command, want := range map[string]string{
		"true": "true", "false": "false", "exit 7": "false", "/nonexistent": "false",
		"sleep 1000": `Match exec "sleep" did not end in time (100ms)`, "kill -9 $$": `Match exec "kill" has ended (signal: killed)`,
	} {
		timeout := sshtest.Patience
		if command == "sleep 1000" {
			timeout = 100 * time.Millisecond
		}
		success, err := matchExec(zap.NewNop(), timeout)(command)
		if got := fmt.Sprint(success); err == nil && got != want || err != nil && err.Error() != want {
			t.Errorf("%s: got %s, %v, want %s", command, got, err, want)
		}
	}
	file := sshtest.WriteFile(t, "config", []byte("Host *\n\nMatch exec \"kill -9 $$\"\n\tUser x\n"))
	_, _, err := provisioned(t, fmt.Sprintf(`{"ssh_config": {"alias": "a", "file": %q}}`, file))
	if err == nil || !strings.Contains(err.Error(), file+`:3: Match exec: Match exec "kill" has ended (signal: killed)`) {
		t.Errorf("got %v", err)
	}
}

// TestNoHostAuthenticationForLocalhost: it is taken unless the tunnel itself says what key
// to expect, or sends a password.
func TestNoHostAuthenticationForLocalhost(t *testing.T) {
	file := sshtest.WriteFile(t, "config", []byte("NoHostAuthenticationForLocalhost yes\nHost alias\n\tHostKeyAlias x\n"))
	for options, want := range map[string]bool{
		`"alias": "localhost"}`:                           true,
		`"alias": "alias"}`:                               false,
		`"alias": "localhost"}, "password": "{env.PATH}"`: false,
		`"alias": "localhost"}, "host_keys": ["` + caddytest.Fingerprint + `"]`: false,
		`"alias": "localhost"}, "host_key_alias": "x"`:                          false,
	} {
		tun, _, err := provisioned(t, fmt.Sprintf(`{"user": "u", "ssh_config": {"file": %q, %s}`, file, options))
		// Otherwise there is nothing to verify the key against.
		if want != (err == nil && tun.Config.TrustLoopback) {
			t.Errorf("%s: got %v, %v, want %t", options, tun, err, want)
		}
	}
}
