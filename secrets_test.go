package sshtunnel

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestExample(t *testing.T) {
	example, err := os.ReadFile("example.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := caddytest.Adapt(string(example)); err != nil {
		t.Error(err)
	}
	if formatted := caddyfile.Format(example); string(formatted) != string(example) {
		t.Error("example.Caddyfile is not formatted; run caddy fmt")
	}
}

// TestSecretsInErrors checks that a secret that is written wrong, or in the wrong
// place, is not shown.
func TestSecretsInErrors(t *testing.T) {
	t.Setenv("CADDY_SSH_TUNNEL_ALLOW_COMMANDS", "1")
	const hostKey = "host_key SHA256:"
	key := sshtest.WriteFile(t, "key", sshtest.NewKey().PEM(""))
	body := slices.Collect(strings.Lines(string(readTestFile(t, key))))
	inFile := sshtest.WriteFile(t, "secret", []byte("hunter2\n"))
	t.Setenv("SSH_TUNNEL_TEST_KEY", string(readTestFile(t, key)))
	t.Setenv("SSH_TUNNEL_TEST_HALF", strings.Join(body[:2], "")+"hunter2\n")
	words := sshtest.WriteFile(t, "words", []byte("hunter2, hunter2 battery!\n"))
	for _, line := range []string{
		"password hunter2 more",
		"password hunter2\npassword hunter2",
		"password hunter2 {\nx\n}",
		"password {hunter2}",
		"password\nhunter2",
		"lazy\nhunter2",
		"identity_file /key\nhunter2",
		"host deploy:hunter2@other",
		"host ssh://deploy:hunter2@other",
		"user deploy\nproxy_jump prod:hunter2",
		"identity_file /key hunter2 more",
		"identity_file none hunter2",
		"identity_file /nonexistent/key {hunter2}",
		"identity_file " + words,
		"identity_file {env.SSH_TUNNEL_TEST_KEY}",
		"identity_file {env.SSH_TUNNEL_TEST_HALF}",
		"identity hunter2",
		"identity {hunter2}",
		"identity auto hunter2",
		"identity {env.SSH_TUNNEL_TEST_HALF}",
		"identity {env.SSH_TUNNEL_TEST_KEY} {hunter2}",
		"identity {env.SSH_TUNNEL_TEST_KEY} hunter2 more",
		"identity {env.SSH_TUNNEL_TEST_KEY}x{hunter2}",
		"identity {file." + inFile + "}",
		"identity `" + strings.Join(body[:2], "") + "hunter2`",
		"identity " + strings.ReplaceAll(strings.Join(body, ""), "\n", " "),
		"certificate {env.SSH_TUNNEL_TEST_KEY}",
		"certificate {env.SSH_TUNNEL_TEST_HALF}",
		"certificate {file." + inFile + "}",
		"certificate_file {env.SSH_TUNNEL_TEST_KEY}",
		"certificate_file " + key,
		"known_hosts " + key + "\ncertificate_file " + inFile,
		"host_certificate_authority " + key,
		"host_certificate_authority " + words,
		"revoked_host_keys " + key,
		"revoked_host_keys " + words,
		"ssh_config prod " + key,
		"ssh_config prod " + inFile,
		"ssh_config prod " + words + "\nproxy_jump nobody",
		"proxy hunter2",
		"proxy socks5:u:hunter2@p:1",
		"proxy u:hunter2@socks5://p:1",
		"proxy u:hunter2://p:1",
		"proxy socks5://u:hunter2@p",
		"proxy socks5://u:hunter2:p:1",
		"proxy socks5://u:hunter2p:1",
		"proxy socks5://p:1@u:hunter2",
		"proxy socks5://u:hunter2%zz@p:1",
		"proxy socks5://u:{hunter2}@p:1",
		"proxy socks5://u:{hunter2}p:1",
		"proxy socks5://{hunter2}:x@p:1",
		"proxy socks5://u:hunter2@p:1 more",
		"proxy socks5://:hunter2@p:1",
		"proxy_command connect --login u:hunter2%",
		"proxy_command connect --login u:{hunter2}",
		"proxy_command connect --login u:%xhunter2",
		"dynamic_forward 1080 {\nuser alice hunter2 more\n}",
		"dynamic_forward 1080 {\nuser alice {hunter2}\n}",
		"dynamic_forward 1080 {\nuser alice hunter2\nuser alice hunter2\n}",
		"dynamic_forward 1080 {\nuser alice hunter2" + strings.Repeat("x", 300) + "\n}",
		"dynamic_forward 1080 {\nuser alice\nhunter2\n}",
		"dynamic_forward 1080 {\nuser " + strings.Repeat("x", 300) + " hunter2\n}",
	} {
		address, with := "deploy@bastion.example.com", line
		if strings.HasPrefix(line, "host ") {
			address = ""
		}
		if !strings.Contains(line, "certificate_file") && !strings.Contains(line, "known_hosts") {
			with += "\n" + hostKey + strings.Repeat("A", 43)
		}
		config, err := caddytest.Adapt("{\nssh_tunnel {\ntunnel prod " + address + " {\n" + with + "\n}\n}\n}")
		if err == nil {
			err = caddytest.Load(config)
		}
		if err == nil {
			t.Errorf("%q: no error", line)
			continue
		}
		for _, secret := range append(body[1:len(body)-1], "hunter2", "battery") {
			if strings.Contains(err.Error(), strings.TrimSpace(secret)) {
				t.Errorf("%q: the error shows the secret: %v", line, err)
			}
		}
	}
}

func readTestFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
