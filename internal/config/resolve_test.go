package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// provisioned reads a tunnel from JSON and resolves it.
func provisioned(t *testing.T, config string) (*Resolved, *observer.ObservedLogs, error) {
	t.Helper()
	tun := new(Tunnel)
	if err := caddy.StrictUnmarshalJSON([]byte(config), tun); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	logger := zap.New(core)
	resolved, err := tun.resolve("prod", logger, NewSSHConfigReader(logger))
	return resolved, logs, err
}

func TestProvisionConfig(t *testing.T) {
	home := HomeDir()
	t.Setenv("SSH_TUNNEL_TEST_PASSWORD", "hunter2")
	t.Setenv("SSH_TUNNEL_TEST_BASTION", "deploy@[2001:db8::1]")
	t.Setenv("SSH_TUNNEL_TEST_DIR", "/nonexistent")

	tun, logs, err := provisioned(t, `{
		"hosts": ["{env.SSH_TUNNEL_TEST_BASTION}:2222"],
		"identity_files": [{"path": "~/id", "passphrase": "{env.SSH_TUNNEL_TEST_PASSWORD}"}],
		"certificate_files": ["{env.SSH_TUNNEL_TEST_DIR}/cert.pub"],
		"identity_agent": "none",
		"password": "{env.SSH_TUNNEL_TEST_PASSWORD}",
		"known_hosts": ["~/known"],
		"host_keys": ["`+caddytest.Fingerprint+`"],
		"host_certificate_authorities": ["~/ca.pub"],
		"host_key_alias": "bastion",
		"strict_host_key_checking": "accept-new",
		"revoked_host_keys": ["~/revoked"],
		"proxy_jump": "outer",
		"bind_address": "::1",
		"address_family": "inet6",
		"kex_algorithms": ["curve25519-sha256"],
		"ciphers": ["aes128-gcm@openssh.com"],
		"macs": ["hmac-sha2-256-etm@openssh.com"],
		"host_key_algorithms": ["ssh-ed25519"],
		"pubkey_accepted_algorithms": ["rsa-sha2-512"],
		"ca_signature_algorithms": ["ssh-ed25519"],
		"required_rsa_size": 3072
	}`)
	if err != nil {
		t.Fatal(err)
	}
	got := tun.Config
	if secret, err := got.Resolve(got.Password); secret != "hunter2" || err != nil {
		t.Errorf("the password resolves to %q, %v", secret, err)
	}
	got.Resolve = nil
	want := tunnel.Config{
		Name:                       "prod",
		Address:                    "[2001:db8::1]:2222",
		User:                       "deploy",
		IdentityFiles:              []tunnel.IdentityFile{{Path: filepath.Join(home, "id"), Passphrase: "{env.SSH_TUNNEL_TEST_PASSWORD}"}},
		CertificateFiles:           []string{"/nonexistent/cert.pub"},
		IdentityAgent:              "none",
		IdentitiesOnly:             true,
		Password:                   "{env.SSH_TUNNEL_TEST_PASSWORD}",
		KnownHosts:                 []string{filepath.Join(home, "known")},
		HostKeys:                   []string{caddytest.Fingerprint},
		HostCertificateAuthorities: []string{filepath.Join(home, "ca.pub")},
		HostKeyAlias:               "bastion",
		RevokedHostKeys:            []string{filepath.Join(home, "revoked")},
		AcceptNewHostKey:           true,
		UpdateHostKeys:             true,
		BindAddress:                "::1",
		AddressFamily:              "inet6",
		Lists: algorithms.Lists{
			KexAlgorithms:            []string{"curve25519-sha256"},
			Ciphers:                  []string{"aes128-gcm@openssh.com"},
			MACs:                     []string{"hmac-sha2-256-etm@openssh.com"},
			HostKeyAlgorithms:        []string{"ssh-ed25519"},
			PubkeyAcceptedAlgorithms: []string{"rsa-sha2-512"},
			CASignatureAlgorithms:    []string{"ssh-ed25519"},
			RequiredRSASize:          3072,
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if tun.Jump != "outer" {
		t.Errorf("the jump is %q", tun.Jump)
	}
	for _, entry := range logs.All() {
		if text, _ := json.Marshal(entry.ContextMap()); strings.Contains(entry.Message+string(text), "hunter2") {
			t.Errorf("the log shows the secret: %s %s", entry.Message, text)
		}
		if entry.ContextMap()["tunnel"] != "prod" {
			t.Errorf("a log line without the tunnel: %s", entry.Message)
		}
	}
}

func TestProvisionSettings(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for config, want := range map[string]tunnel.Settings{
		``: {ServerAliveInterval: 15 * s, ReconnectMin: 250 * ms, ReconnectMax: 30 * s},
		`, "server_alive_interval": 0, "drain_timeout": 0, "lazy": true`:                   {DrainTimeout: -1, ReconnectMin: 250 * ms, ReconnectMax: 30 * s, Lazy: true},
		`, "lazy": true, "lazy_timeout": "15m"`:                                            {ServerAliveInterval: 15 * s, ReconnectMin: 250 * ms, ReconnectMax: 30 * s, Lazy: true, LazyTimeout: 15 * time.Minute},
		`, "server_alive_interval": "1s", "server_alive_count_max": 5`:                     {ServerAliveInterval: s, ServerAliveCountMax: 5, ReconnectMin: 250 * ms, ReconnectMax: 30 * s},
		`, "connect_timeout": 5000000000, "drain_timeout": "1d"`:                           {ConnectTimeout: 5 * s, DrainTimeout: 24 * time.Hour, ServerAliveInterval: 15 * s, ReconnectMin: 250 * ms, ReconnectMax: 30 * s},
		`, "reconnect_delay": {"min": "1s"}`:                                               {ServerAliveInterval: 15 * s, ReconnectMin: s, ReconnectMax: 30 * s},
		`, "reconnect_delay": {"max": "1m"}, "rekey_limit": {"size": 7, "interval": "1h"}`: {ServerAliveInterval: 15 * s, ReconnectMin: 250 * ms, ReconnectMax: 60 * s, RekeyBytes: 7, RekeyInterval: time.Hour},
	} {
		tun, _, err := provisioned(t, `{"hosts": ["deploy@bastion"], "password": "x", "host_keys": ["`+caddytest.Fingerprint+`"]`+config+`}`)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		if tun.Settings.Logger == nil {
			t.Errorf("%s: no logger", config)
		}
		tun.Settings.Logger = nil
		if tun.Settings != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", config, tun.Settings, want)
		}
	}
}

// TestProvisionIdentitiesOnly checks that what is written wins over what
// follows from the identities.
func TestProvisionIdentitiesOnly(t *testing.T) {
	for config, want := range map[string]bool{
		`"identity_files": [{"path": "/nonexistent"}]`:                               true,
		`"identity_files": [{"path": "/nonexistent"}], "identities_only": false`:     false,
		`"identity_agent": "/nonexistent", "identities_only": true, "password": "x"`: true,
		`"identities": [{"auto": true}]`:                                             true,
		`"identities": [{"auto": true}], "identity_agent": "/nonexistent"`:           false,
		`"password": "x", "identities_only": false`:                                  false,
		`"identity_agent": "/nonexistent"`:                                           false,
	} {
		tun, _, err := provisioned(t, `{"hosts": ["deploy@bastion"], "host_keys": ["`+caddytest.Fingerprint+`"], `+config+`}`)
		if err != nil {
			t.Errorf("%s: %v", config, err)
		} else if got := tun.Config.IdentitiesOnly; got != want {
			t.Errorf("%s: IdentitiesOnly is %t", config, got)
		} else if agent := tun.Config.IdentityAgent; !want && (agent == "" || agent == "none") {
			t.Errorf("%s: no agent", config)
		}
	}
}

// TestIdentityKeys: the placeholder of a key or a certificate makes another tunnel, and so
// does a generated key. What a placeholder stands for does not.
func TestIdentityKeys(t *testing.T) {
	t.Setenv("SSH_TUNNEL_TEST_A", string(sshtest.NewKey().PEM("")))
	t.Setenv("SSH_TUNNEL_TEST_B", string(sshtest.NewKey().PEM("")))
	key := func(options string) string {
		t.Helper()
		tun, _, err := provisioned(t, `{"hosts": ["deploy@bastion"], "host_keys": ["`+caddytest.Fingerprint+`"], `+options+`}`)
		if err != nil {
			t.Fatal(err)
		}
		return tun.Config.Key("")
	}
	seen := make(map[string]string)
	for _, options := range []string{
		`"identities": [{"key": "{env.SSH_TUNNEL_TEST_A}"}]`, `"identities": [{"key": "{env.SSH_TUNNEL_TEST_B}"}]`, `"identities": [{"auto": true}]`,
		`"identities": [{"key": "{env.SSH_TUNNEL_TEST_A}"}, {"auto": true}]`, `"identities": [{"key": "{env.SSH_TUNNEL_TEST_A}", "passphrase": "{env.PATH}"}]`,
	} {
		if other, ok := seen[key(options)]; ok {
			t.Errorf("%s and %s are one tunnel", options, other)
		}
		seen[key(options)] = options
	}
	before := key(`"identities": [{"key": "{env.SSH_TUNNEL_TEST_A}"}]`)
	t.Setenv("SSH_TUNNEL_TEST_A", string(sshtest.NewKey().PEM("")))
	if key(`"identities": [{"key": "{env.SSH_TUNNEL_TEST_A}"}]`) != before {
		t.Error("another value makes another tunnel")
	}
}

func TestProvisionErrors(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                       `host: none; write the bastion's address`,
		`{"hosts": ["x@a", "y@b"]}`:                `host: users "x" and "y"; a tunnel has one user`,
		`{"hosts": [""]}`:                          `host: an empty entry`,
		`{"hosts": ["a:b"]}`:                       `host: "a:b": port "b" is not a number`,
		`{"hosts": ["x@a"], "user": "y"}`:          `user: "y"; the host has "x": keep one`,
		`{"hosts": ["a"], "user": "y\u001b"}`:      `user: the value is a text with control characters (2 bytes), which does not belong here`,
		`{"hosts": ["a"], "known_hosts": [""]}`:    `known_hosts: an empty entry`,
		`{"hosts": ["a"], "identity_files": [{}]}`: `identity_file: no path`,
		`{"hosts": ["a"], "identities": [{}]}`:     `identity: no key; write its text by a placeholder, as in identity {env.BASTION_KEY}, or auto`,
		`{"hosts": ["a"], "identities": [{"key": "x", "auto": true}]}`:              `identity: auto has a key as well; keep one of them`,
		`{"hosts": ["a"], "identities": [{"auto": true}, {"auto": true}]}`:          `identity: auto is written twice; keep one`,
		`{"hosts": ["a"], "certificates": [""]}`:                                    `certificate: an empty entry; leave it out`,
		`{"hosts": ["a"], "connect_timeout": 15}`:                                   `connect_timeout: 15ns is below 1ms; a number in JSON counts nanoseconds`,
		`{"hosts": ["a"], "connect_timeout": -1}`:                                   `connect_timeout: -1ns is negative`,
		`{"hosts": ["a"], "server_alive_count_max": -1}`:                            `server_alive_count_max: -1 is negative`,
		`{"hosts": ["a"], "connections": {"min": -1}}`:                              `connections: negative`,
		`{"hosts": ["a"], "connections": {"min": 3, "max": 2}}`:                     `connections: the least number, 3, is above the most, 2`,
		`{"hosts": ["a"], "connections": {"max": -1}}`:                              `connections: negative`,
		`{"hosts": ["a"], "lazy_timeout": "15m"}`:                                   `lazy_timeout: the tunnel is not lazy; add lazy`,
		`{"hosts": ["a"], "rekey_limit": {"size": 34359738369}}`:                    `rekey_limit: 34359738369 bytes; it is at most 32GiB`,
		`{"hosts": ["a"], "reconnect_delay": {"min": "31s"}}`:                       `reconnect_delay: the first delay, 31s, is above the longest, 30s`,
		`{"hosts": ["a"], "permit_open": []}`:                                       `permit_open: an empty list, which would permit every target; leave it out for that`,
		`{"hosts": ["a"], "strict_host_key_checking": "ask"}`:                       `strict_host_key_checking: "ask" is none of yes, accept-new and no`,
		`{"hosts": ["a"], "strict_host_key_checking": "{env.SSH_TUNNEL_TEST_NIL}"}`: `strict_host_key_checking: placeholder {env.SSH_TUNNEL_TEST_NIL} is empty`,
	} {
		if _, _, err := provisioned(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got error %v; want %q", config, err, want)
		}
	}
}

func TestProvisionLogs(t *testing.T) {
	user := LoginName()
	if user == "" {
		t.Skip("the user that runs the test has no name")
	}
	_, logs, err := provisioned(t, `{"hosts": ["bastion"], "password": "hunter2", "host_keys": ["`+caddytest.Fingerprint+`"]}`)
	if err != nil {
		t.Fatal(err)
	}
	if found := logs.FilterMessageSnippet("no user is configured").FilterField(zap.String("user", user)); found.Len() != 1 {
		t.Errorf("%d lines name the user", found.Len())
	}
	if found := logs.FilterMessageSnippet("password is written literally").FilterLevelExact(zap.WarnLevel); found.Len() != 1 {
		t.Errorf("%d lines warn of the password", found.Len())
	}

	t.Setenv(subprocess.Allow, "1")
	for argument, want := range map[string]int{"{env.PATH}": 1, "%h": 0} {
		_, logs, err := provisioned(t, `{"hosts": ["bastion"], "password": "{env.PATH}", "host_keys": ["`+caddytest.Fingerprint+`"], "proxy_command": ["x", "`+argument+`"]}`)
		if err != nil {
			t.Fatal(err)
		}
		if found := logs.FilterMessageSnippet("is shown by every list of processes"); found.Len() != want {
			t.Errorf("%s: %d lines warn of it, want %d", argument, found.Len(), want)
		}
	}
}

func TestHomeDir(t *testing.T) {
	t.Setenv("HOME", "/srv/caddy")
	t.Setenv("USERPROFILE", "/srv/caddy")
	if got := HomeDir(); got != "/srv/caddy" {
		t.Errorf("with $HOME: %q", got)
	}
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	if got := HomeDir(); got == "" || got == "/srv/caddy" {
		t.Errorf("without $HOME: %q", got)
	}
}
