package sshtunnel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/config"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// takesSecrets are the options that may have anything as an argument, from the
// one with this number on: a secret, or a command with one.
var takesSecrets = map[string]int{"password": 0, "identity": 0, "certificate": 0, "identity_file": 1, "proxy_command": 1, "dynamic_forward user": 1}

// TestMisplacedTexts gives every option of a tunnel the text of a key, and what
// else may be a secret, by a placeholder and as it is: the configuration is
// refused, and no error shows it.
func TestMisplacedTexts(t *testing.T) {
	sshtest.Takes(t, time.Second)
	t.Setenv("CADDY_SSH_TUNNEL_ALLOW_COMMANDS", "1")
	t.Setenv("SSH_AUTH_SOCK", "")
	key := sshtest.WriteFile(t, "key", sshtest.NewKey().PEM(""))
	sshConfig := sshtest.WriteFile(t, "config", []byte("Host x\nIdentityFile ${SSH_TUNNEL_TEST_TEXT}\n"))

	// Every option, with the text as each of its arguments.
	type line struct {
		text    string // %s is the text
		allowed bool   // the text may be what it is for
	}
	var lines []line
	add := func(name, inBlock string, opt config.Option) {
		most := min(strings.Count(opt.Usage, "<")+strings.Count(opt.Usage, "|"), 2)
		for n := 1; n <= max(most, 1); n++ {
			for i := range n {
				args := slices.Repeat([]string{"x"}, n)
				args[i] = "%s"
				at, secret := takesSecrets[strings.TrimSpace(inBlock+" "+name)]
				text := name + " " + strings.Join(args, " ")
				if inBlock != "" {
					text = inBlock + " 1080 {\n" + text + "\n}"
					if inBlock != "dynamic_forward" {
						text = strings.Replace(text, " 1080 ", " 1080 a:1 ", 1)
					}
				}
				lines = append(lines, line{text, secret && i >= at})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(config.TunnelOptions)) {
		add(name, "", config.TunnelOptions[name])
		for _, inner := range slices.Sorted(maps.Keys(config.TunnelOptions[name].Block)) {
			add(inner, name, config.TunnelOptions[name].Block[inner])
		}
	}
	for _, text := range []string{
		"proxy socks5://%s:1080", "proxy http://%s", "proxy %s://p:1", "proxy socks5://u@%s:1", "ssh_config x " + sshConfig,
		"host %s@b", "host b:%s", "host b %s:22", "permit_open %s:1", "permit_open unix//%s", "local_forward unix//%s a:1", "remote_forward 1 unix//%s",
		"local_forward %s:1 a:1", "dynamic_forward %s:1", "identity_file /keys/%s", "known_hosts " + key + " ~/%s", "strict_host_key_checking yes,%s",
	} {
		lines = append(lines, line{text, false})
	}

	for what, text := range sshtest.Misplaced() {
		t.Setenv("SSH_TUNNEL_TEST_TEXT", text)
		inFile := sshtest.WriteFile(t, "text", []byte(text))
		for _, l := range lines {
			header, hostKey := "tunnel prod deploy@bastion.example.com", "host_key SHA256:"+strings.Repeat("A", 43)
			for _, name := range []string{"host ", "user "} {
				if strings.HasPrefix(l.text, name) {
					header = "tunnel prod"
					if name == "user " {
						header += " b"
					}
				}
			}
			if strings.HasPrefix(l.text, "host_key ") {
				hostKey = ""
			}
			for form, value := range map[string]string{"placeholder": "{env.SSH_TUNNEL_TEST_TEXT}", "file": "{file." + inFile + "}", "literal": "`" + text + "`"} {
				option := l.text
				if form == "literal" {
					// A part of a token cannot be quoted by itself.
					if i := strings.Index(option, "%s"); i >= 0 {
						start := strings.LastIndexAny(option[:i], " \n") + 1
						end := i + len("%s")
						for end < len(option) && !strings.ContainsRune(" \n", rune(option[end])) {
							end++
						}
						option = option[:start] + "`" + strings.Replace(option[start:end], "%s", text, 1) + "`" + option[end:]
					}
				} else {
					option = strings.ReplaceAll(option, "%s", value)
				}
				config, err := caddytest.Adapt(fmt.Sprintf("{\nssh_tunnel {\n%s {\nidentity_file %s\n%s\n%s\n}\n}\n}", header, key, hostKey, option))
				if strings.HasPrefix(l.text, "password") || strings.HasPrefix(l.text, "identity_agent") || strings.HasPrefix(l.text, "ssh_config x") {
					config, err = caddytest.Adapt(fmt.Sprintf("{\nssh_tunnel {\n%s {\n%s\n%s\n}\n}\n}", header, hostKey, option))
				}
				if err == nil {
					err = caddytest.Load(config)
				}
				isKey := strings.HasPrefix(l.text, "host_key") || strings.HasPrefix(l.text, "host_certificate_authority")
				switch {
				case err == nil && l.allowed:
				case err == nil:
					t.Errorf("%s as the %s in %q is taken", what, form, l.text)
				case isKey && (what == "certificate" || strings.Contains(what, "known_hosts")): // public keys, as the option takes
				case sshtest.Shows(err.Error(), text):
					t.Errorf("%s as the %s in %q: the error shows it: %v", what, form, l.text, err)
				}
			}
		}
	}
}

// TestMisplacedElsewhere does so with what is no option of a tunnel.
func TestMisplacedElsewhere(t *testing.T) {
	const app = "ssh_tunnel {\ntunnel prod deploy@b {\nhost_key SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\npassword x\npermit_open *:*\n}\n}\n"
	site := func(transport, upstream string) string {
		return "{\nadmin off\n" + app + "}\n:0 {\nreverse_proxy " + upstream + " {\ntransport ssh_tunnel " + transport + "\n}\n}"
	}
	dynamic := func(args, options string) string {
		return "{\nadmin off\n" + app + "}\n:0 {\nreverse_proxy {\ndynamic ssh_tunnel " + args + " {\n" + options + "\n}\ntransport ssh_tunnel prod\n}\n}"
	}
	wrapper := func(args string) string {
		return "{\nadmin off\n" + app + "servers {\nlistener_wrappers {\nssh_tunnel " + args + "\n}\n}\n}\n:0 {\n}"
	}
	configs := map[string]string{
		"the app's argument":          "{\nssh_tunnel TEXT\n}",
		"an option of the app":        "{\nssh_tunnel {\nTEXT\n}\n}",
		"a tunnel's name":             "{\nssh_tunnel {\ntunnel TEXT b\n}\n}",
		"a tunnel's address":          "{\nssh_tunnel {\ntunnel a TEXT {\nhost_key SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\npassword x\n}\n}\n}",
		"an option of a tunnel":       "{\nssh_tunnel {\ntunnel a b {\nTEXT\n}\n}\n}",
		"an option of a forward":      "{\nssh_tunnel {\ntunnel a b {\nlocal_forward 1 a:1 {\nTEXT\n}\n}\n}\n}",
		"transport's tunnel":          site("TEXT", "a:80"),
		"more than the tunnel":        site("prod TEXT", "a:80"),
		"tls_client_auth certificate": site("prod {\ntls_client_auth TEXT /key\n}", "a:80"),
		"tls_client_auth key":         site("prod {\ntls_client_auth /cert TEXT\n}", "a:80"),
		"tls_client_auth name":        site("prod {\ntls_client_auth TEXT\n}", "a:80"),
		"tls_trusted_ca_certs":        site("prod {\ntls_trusted_ca_certs TEXT\n}", "a:80"),
		"tls_server_name":             site("prod {\ntls_server_name TEXT\n}", "a:80"),
		"network_proxy":               site("prod {\nnetwork_proxy url TEXT\n}", "a:80"),
		"dial_timeout":                site("prod {\ndial_timeout TEXT\n}", "a:80"),
		"an option of the transport":  site("prod {\nTEXT\n}", "a:80"),
		"dynamic's tunnel":            dynamic("TEXT a b", "resolvers c"),
		"dynamic's type":              dynamic("prod TEXT b", "resolvers c"),
		"dynamic's name":              dynamic("prod a TEXT", "resolvers c"),
		"dynamic's port":              dynamic("prod a b TEXT", "resolvers c"),
		"dynamic's resolvers":         dynamic("prod a b", "resolvers TEXT"),
		"dynamic's refresh":           dynamic("prod a b", "resolvers c\nrefresh TEXT"),
		"dynamic's versions":          dynamic("prod a b", "resolvers c\nversions TEXT"),
		"dynamic's service":           dynamic("prod srv b", "resolvers c\nproto tcp\nservice TEXT"),
		"an option of dynamic":        dynamic("prod a b", "resolvers c\nTEXT"),
		"wrapper's tunnel":            wrapper("TEXT a:1"),
		"wrapper's target":            wrapper("prod TEXT"),
		"wrapper's port":              wrapper("prod a:TEXT"),
		"wrapper's proxy_protocol":    wrapper("prod a:1 {\nproxy_protocol TEXT\n}"),
		"wrapper's idle_timeout":      wrapper("prod a:1 {\nidle_timeout TEXT\n}"),
		"an option of the wrapper":    wrapper("prod a:1 {\nTEXT\n}"),
	}
	for what, text := range sshtest.Misplaced() {
		t.Setenv("SSH_TUNNEL_TEST_TEXT", text)
		for where, config := range configs {
			for form, value := range map[string]string{"placeholder": "{env.SSH_TUNNEL_TEST_TEXT}", "literal": "`" + text + "`"} {
				written := strings.ReplaceAll(config, "TEXT", value)
				if form == "literal" {
					written = strings.ReplaceAll(config, "a:TEXT", "`a:"+text+"`")
					written = strings.ReplaceAll(written, "TEXT", value)
				}
				adapted, err := caddytest.Adapt(written)
				if err == nil {
					err = caddytest.Load(adapted)
				}
				// How long the http transport's values are is for Caddy to say.
				long := what == "password longer than any name" && (strings.HasPrefix(where, "tls_") || where == "network_proxy")
				switch {
				case long:
				case err == nil:
					t.Errorf("%s as the %s in %s is taken", what, form, where)
				case sshtest.Shows(err.Error(), text):
					t.Errorf("%s as the %s in %s: the error shows it: %v", what, form, where, err)
				}
			}
		}
	}
}
