//go:build unix

package sshauth

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestPromptsBesideSSH: where ssh with an SSH_ASKPASS is let in, so are we; but no
// one-time code is answered with the password.
func TestPromptsBesideSSH(t *testing.T) {
	t.Parallel()
	type round = []string // of prompts
	for i, test := range []struct {
		rounds []round
		codes  bool // ssh answers it, we do not
	}{
		{rounds: []round{{"Password: "}}},
		{rounds: []round{{"(user0@code.example.com) Password for user@new: "}}},
		{rounds: []round{{" "}}},
		{rounds: []round{{}, {"Пароль: "}, {}}},
		{rounds: []round{{}}},
		{rounds: []round{{"Enter passphrase: "}}},
		{rounds: []round{{"A new server, run by Duo.\r\nSecret> "}}},
		{rounds: []round{{"Verification code: "}}, codes: true},
		{rounds: []round{{"Password: "}, {"Einmalpasswort: "}}, codes: true},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			b := sshtest.NewBastion(t, sshtest.BastionOptions{KeyboardInteractive: func(_ string, ask ssh.KeyboardInteractiveChallenge) error {
				for _, prompts := range test.rounds {
					answers, err := ask("", "", prompts, make([]bool, len(prompts)))
					if err != nil {
						return err
					}
					for _, answer := range answers {
						if answer != "hunter2" {
							return errNo
						}
					}
				}
				return nil
			}})
			known := sshtest.WriteFile(t, "known_hosts", []byte(b.KnownHostsLine()+"\n"))
			if out := sshWithPassword(t, b.Addr(), known, "hunter2"); !strings.Contains(out, `using "keyboard-interactive"`) {
				t.Errorf("ssh is not let in: %s", out)
			}
			_, err := logIn(t, &Config{User: "user", IdentityAgent: "none", Password: "hunter2"}, nil, b.Addr())
			if cause := causeOf(err); (err != nil) != test.codes || test.codes && cause != failure.CauseSecondFactor {
				t.Errorf("%v, %s", err, cause)
			}
		})
	}
}

// sshWithPassword runs ssh with a password, and returns what it says.
func sshWithPassword(t *testing.T, addr, knownHosts, password string) string {
	t.Helper()
	askpass := sshtest.WriteFile(t, "askpass", []byte("#!/bin/sh\necho '"+password+"'\n"))
	if err := os.Chmod(askpass, 0o700); err != nil {
		t.Fatal(err)
	}
	host, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command(sshtest.Program(t, "ssh"), "-v", "-F", "none", "-o", "IdentityFile=none", "-o", "IdentityAgent=none", "-o", "NumberOfPasswordPrompts=1",
		"-o", "UserKnownHostsFile="+knownHosts, "-W", "127.0.0.1:1", "-p", port, "user@"+host)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
	out, _ := cmd.CombinedOutput() // the target refuses
	return string(out)
}
