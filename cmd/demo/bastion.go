package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bastion.go is the SSH server, and the files by which Caddy knows it and is
// known to it.

const (
	bastionUser = "demo"

	// webAddress is the one target that the bastion permits. Nobody but the
	// bastion can resolve the name.
	webAddress = "web.internal:80"
)

// demoBastion is a bastion with the files that a client of it needs.
type demoBastion struct {
	server       *sshtest.Bastion
	identityFile string
	knownHosts   string
}

// startBastion starts a bastion, and the private web server behind it, with
// new keys whose files are in dir. Both serve until the process ends.
func startBastion(dir string) (*demoBastion, error) {
	logger := log.New(os.Stderr, "bastion  ", 0)
	web := newMemoryListener()
	key := sshtest.NewKey()
	server, err := sshtest.ListenBastion(sshtest.BastionOptions{
		User:           bastionUser,
		AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
		PermitOpen: func(_, address string) error {
			if address != webAddress {
				return fmt.Errorf("only %s is permitted", webAddress)
			}
			return nil
		},
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return web.dial(ctx) },
		Logf: logger.Printf,
	})
	if err != nil {
		return nil, err
	}
	go serveWeb(web, server) // returns when the process ends

	b := &demoBastion{
		server:       server,
		identityFile: filepath.Join(dir, "id_ed25519"),
		knownHosts:   filepath.Join(dir, "known_hosts"),
	}
	if err := os.WriteFile(b.identityFile, key.PEM(""), 0o600); err != nil {
		return nil, fmt.Errorf("writing the user's key: %w", err)
	}
	if err := os.WriteFile(b.knownHosts, []byte(server.KnownHostsLine()+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("writing the bastion's key: %w", err)
	}
	return b, nil
}
