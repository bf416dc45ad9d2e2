package sshtest

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// bastion_auth.go decides who may log in to a Bastion.

// permitForwarding is the certificate extension without which a user may not
// forward. Logins by other means are given it.
const permitForwarding = "permit-port-forwarding"

// errDenied is all that a client could learn from a failed attempt.
var errDenied = errors.New("permission denied")

// Attempt is one try of a client to authenticate.
type Attempt struct {
	User   string
	Method string // as in AuthenticationMethods
	// Key is the fingerprint of the key that was offered, a certificate's
	// being that of the key it is for. Empty with other methods.
	Key string
	OK  bool
}

// Attempts returns what clients tried to authenticate with, oldest first: the
// last 4096. A key that is offered and then used is one attempt.
func (b *Bastion) Attempts() []Attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.attempts)
}

// authLists returns AuthenticationMethods taken apart.
func (opts *BastionOptions) authLists() ([][]string, error) {
	var lists [][]string
	for _, methods := range opts.AuthenticationMethods {
		list := strings.Split(methods, ",")
		for _, method := range list {
			if !slices.Contains([]string{"publickey", "password", "keyboard-interactive"}, method) {
				return nil, fmt.Errorf("unknown authentication method %q; known: publickey, password, keyboard-interactive", method)
			}
		}
		lists = append(lists, list)
	}
	if lists != nil {
		return lists, nil
	}
	// Keys are always in the default, since a server must offer something.
	lists = [][]string{{"publickey"}}
	if opts.Password != "" {
		lists = append(lists, []string{"password"})
	}
	if opts.KeyboardInteractive != nil {
		lists = append(lists, []string{"keyboard-interactive"})
	}
	return lists, nil
}

// serverConfig returns what the next connection is served by.
func (b *Bastion) serverConfig() *ssh.ServerConfig {
	lists, _ := b.opts.authLists() // checked by ListenBastion
	first := b.authCallbacks(lists)
	config := &ssh.ServerConfig{
		Config:                      b.opts.Config,
		NoClientAuth:                b.opts.AdmitNone,
		NoClientAuthCallback:        func(ssh.ConnMetadata) (*ssh.Permissions, error) { return mayForward(), nil },
		MaxAuthTries:                b.opts.MaxAuthTries,
		PublicKeyCallback:           first.PublicKeyCallback,
		PasswordCallback:            first.PasswordCallback,
		KeyboardInteractiveCallback: first.KeyboardInteractiveCallback,
		// Called before the client gets the answer, so that whoever has logged in finds
		// it counted.
		AuthLogCallback: func(_ ssh.ConnMetadata, _ string, err error) {
			if err == nil {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.stats.Logins++
			}
		},
	}
	if b.opts.Banner != "" {
		config.BannerCallback = func(ssh.ConnMetadata) string { return b.opts.Banner }
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range b.hostKeys {
		config.AddHostKey(key)
	}
	return config
}

// authCallbacks returns the callbacks for the methods that come first in the
// lists. Each that succeeds asks for what its lists have left, if all have
// something left.
func (b *Bastion) authCallbacks(lists [][]string) ssh.ServerAuthCallbacks {
	var callbacks ssh.ServerAuthCallbacks
	next := func(method string, permissions *ssh.Permissions) (*ssh.Permissions, error) {
		var left [][]string
		for _, list := range lists {
			switch {
			case list[0] != method:
			case len(list) == 1:
				return permissions, nil
			default:
				left = append(left, list[1:])
			}
		}
		return nil, &ssh.PartialSuccessError{Next: b.authCallbacks(left)}
	}
	for _, list := range lists {
		switch list[0] {
		case "publickey":
			callbacks.PublicKeyCallback = func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
				permissions, err := b.checkKey(conn, key)
				if err = b.attempt(conn, "publickey", key, err); err != nil {
					return nil, err
				}
				return next("publickey", permissions)
			}
		case "password":
			callbacks.PasswordCallback = func(conn ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
				if err := b.attempt(conn, "password", nil, b.checkPassword(string(password))); err != nil {
					return nil, err
				}
				return next("password", mayForward())
			}
		case "keyboard-interactive":
			callbacks.KeyboardInteractiveCallback = func(conn ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				if err := b.attempt(conn, "keyboard-interactive", nil, b.checkDialogue(conn.User(), ask)); err != nil {
					return nil, err
				}
				return next("keyboard-interactive", mayForward())
			}
		}
	}
	return callbacks
}

// attempt holds the answer back if it must, refuses other users, and records
// the outcome, which it returns.
func (b *Bastion) attempt(conn ssh.ConnMetadata, method string, key ssh.PublicKey, err error) error {
	if held := b.hold(b.ctx, func(f Faults) bool { return f.HoldAuth }); held != nil {
		return held
	}
	if b.opts.User != "" && conn.User() != b.opts.User {
		err = errDenied
	}
	a := Attempt{User: conn.User(), Method: method, OK: err == nil}
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if key != nil {
		a.Key = ssh.FingerprintSHA256(key)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts = record(b.attempts, a)
	return err
}

func (b *Bastion) checkKey(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	checker := ssh.CertChecker{
		IsUserAuthority: func(authority ssh.PublicKey) bool { return containsKey(b.opts.UserAuthorities, authority) },
		UserKeyFallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !containsKey(b.opts.AuthorizedKeys, key) {
				return nil, errDenied
			}
			return mayForward(), nil
		},
	}
	return checker.Authenticate(conn, key)
}

func (b *Bastion) checkPassword(password string) error {
	if b.opts.Password == "" || subtle.ConstantTimeCompare([]byte(password), []byte(b.opts.Password)) != 1 {
		return errDenied
	}
	return nil
}

func (b *Bastion) checkDialogue(user string, ask ssh.KeyboardInteractiveChallenge) error {
	if b.opts.KeyboardInteractive != nil {
		return b.opts.KeyboardInteractive(user, ask)
	}
	answers, err := ask("", "", []string{"Password: "}, []bool{false})
	if err != nil {
		return err
	}
	if len(answers) != 1 {
		return errDenied
	}
	return b.checkPassword(answers[0])
}

func mayForward() *ssh.Permissions {
	return &ssh.Permissions{Extensions: map[string]string{permitForwarding: ""}}
}

func containsKey(keys []ssh.PublicKey, key ssh.PublicKey) bool {
	return slices.ContainsFunc(keys, func(k ssh.PublicKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) })
}
