package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dial"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/subprocess"
)

func TestParseProxy(t *testing.T) {
	t.Setenv("SSH_TUNNEL_TEST_PROXY", "proxy.example.com:1080")
	t.Setenv("SSH_TUNNEL_TEST_USER_PROXY", "hunter2@proxy.example.com:1080")
	for raw, want := range map[string]dial.Proxy{
		"socks5://127.0.0.1:1080":                       {Scheme: "socks5", Address: "127.0.0.1:1080"},
		"http://[::1]:3128/":                            {Scheme: "http", Address: "[::1]:3128"},
		"http://alice@p:1":                              {Scheme: "http", Address: "p:1", User: "alice"},
		"http://al%40ice:a%7Bb@p:1":                     {Scheme: "http", Address: "p:1", User: "al@ice", Password: `a\{b`},
		"http://{env.A}:{file./a:b@c}@p:1":              {Scheme: "http", Address: "p:1", User: "{env.A}", Password: "{file./a:b@c}"},
		"socks5://{env.A}@{env.SSH_TUNNEL_TEST_PROXY}":  {Scheme: "socks5", Address: "proxy.example.com:1080", User: "{env.A}"},
		"socks5://a:b:c@{env.SSH_TUNNEL_TEST_PROXY}":    {Scheme: "socks5", Address: "proxy.example.com:1080", User: "a", Password: "b:c"},
		"socks5://{env.A}:x{env.B}y%@proxy.example:108": {Scheme: "socks5", Address: "proxy.example:108", User: "{env.A}", Password: "x{env.B}y%"},
	} {
		got, err := parseProxy(raw, replacePlaceholders)
		if err != nil || *got != want {
			t.Errorf("%s: got %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for raw, want := range map[string]string{
		"proxy:1080":              "not a URL",
		"{env.PROXY}":             "not a URL",
		"{env.S}://proxy:1080":    "not a URL",
		"ftp://hunter2:x@proxy:1": `unknown scheme "ftp"`,
		"http://hunter2@proxy":    "a proxy has no default port",
		"http://hunter2@proxy:0":  "a port from 1 to 65535",
		"http://[2001:db8::1]":    "a port from 1 to 65535", // and not SSH's

		"socks5://{env.SSH_TUNNEL_TEST_USER_PROXY}": "write user info before an @",
		"http://hunter2%x@proxy:1":                  "percent-encoded",
		"http://:hunter2@proxy:1":                   "an empty user or password",
		"http://hunter2:@proxy:1":                   "an empty user or password",
		"http://proxy:1/hunter2":                    "is not <host>:<port>",
		"http://{env.NONE_OF_IT}:1":                 "placeholder {env.NONE_OF_IT} is empty",

		// The slash at the end of a key is a part of it.
		"http://MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR7/": "a key or certificate in base64",
	} {
		_, err := parseProxy(raw, replacePlaceholders)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", raw, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows a secret: %v", raw, err)
		}
	}
}

// TestProxyCommandOfSSHConfig takes it as ssh would, where that is allowed.
func TestProxyCommandOfSSHConfig(t *testing.T) {
	file := sshtest.WriteFile(t, "config", []byte("Host bast*\n\tHostName %h.example.com\n\tProxyCommand connect --to %h:%p '%r at 100%%' %n\n\tBindAddress 127.0.0.1\nHost shell\n\tProxyCommand a | b\n\tProxyUseFdpass yes\n"))
	config := `{"ssh_config": {"alias": %q, "file": %q}, "password": "{env.PATH}", "host_keys": ["` + caddytest.Fingerprint + `"]%s}`

	if _, _, err := provisioned(t, fmt.Sprintf(config, "bastion", file, "")); err == nil || !strings.Contains(err.Error(), file+":3: ProxyCommand: running commands is not allowed") {
		t.Errorf("not allowed: %v", err)
	}
	// What the tunnel says itself wins.
	if tun, _, err := provisioned(t, fmt.Sprintf(config, "bastion", file, `, "proxy": "http://p:1"`)); err != nil || tun.Config.Proxy == nil || len(tun.Config.ProxyCommand) > 0 {
		t.Errorf("with a proxy: %v", err)
	}

	t.Setenv(subprocess.AllowOld, "1")
	tun, _, err := provisioned(t, fmt.Sprintf(config, "bastion", file, ""))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"connect --to %h:%p '%r at 100%%' bastion"}; !slices.Equal(tun.Config.ProxyCommand, want) || !tun.Config.ProxyShell || tun.Config.ProxyUseFdpass {
		t.Errorf("got %+v, want %q", tun.Config, want)
	}
	if tun, _, err = provisioned(t, fmt.Sprintf(config, "shell", file, "")); err != nil || !tun.Config.ProxyUseFdpass {
		t.Errorf("with a pipe: %v", err)
	}
	// As on ssh's command line, a name has no meaning for a shell.
	for _, user := range []string{"a;touch x", "$(x)`", "-x"} {
		if _, _, err := provisioned(t, fmt.Sprintf(config, "bastion", file, fmt.Sprintf(`, "user": %q`, user))); err == nil {
			t.Errorf("user %q is taken", user)
		}
	}
	// The block's hosts win, all of them.
	tun, _, err = provisioned(t, fmt.Sprintf(config, "bastion", file, `, "hosts": ["a:1", "b:2"]`))
	if err != nil {
		t.Fatal(err)
	}
	if got := tun.Config.Addresses(); !slices.Equal(got, []string{"a:1", "b:2"}) {
		t.Errorf("addresses are %q", got)
	}
}

func asWritten(s string) (string, error) { return s, nil }

// FuzzParseProxy: errors do not show the user info.
func FuzzParseProxy(f *testing.F) {
	for _, s := range []string{"socks5://u:s3cr3t@p.example:1080", "http://{env.U}:{env.P}@p:3128/", "http://p", "socks5://%zz:s3cr3t@p:1", "://", "http://[::1]:80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parseProxy(raw, asWritten)
		if err != nil {
			if strings.Contains(raw, "s3cr3t@") && strings.HasPrefix(raw, "http://") && strings.Contains(err.Error(), "s3cr3t@") {
				t.Errorf("%q: %v", raw, err)
			}
			return
		}
		if p.Scheme+"://" != raw[:len(p.Scheme)+3] || p.Password != "" && p.User == "" {
			t.Errorf("%q is %+v", raw, p)
		}
	})
}
