package sshtest_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// A bastion that forwards to one private web server, under a name that it
// alone knows, behind a link that could be frozen.
func Example() {
	web, err := sshtest.ListenWeb(sshtest.WebOptions{Name: "web.internal"})
	if err != nil {
		panic(err)
	}
	defer func() { _ = web.Close() }()

	key := sshtest.NewKey()
	bastion, err := sshtest.ListenBastion(sshtest.BastionOptions{
		AuthorizedKeys: []ssh.PublicKey{key.PublicKey()},
		PermitOpen: func(_, addr string) error {
			if addr != "web.internal:80" {
				return fmt.Errorf("%q is not permitted", addr)
			}
			return nil
		},
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", web.Addr())
		},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = bastion.Close() }()

	link, err := sshtest.ListenLink(bastion.Addr())
	if err != nil {
		panic(err)
	}
	defer func() { _ = link.Close() }()

	client, err := ssh.Dial("tcp", link.Addr(), &ssh.ClientConfig{
		User: "deploy",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(_ string, _ net.Addr, offered ssh.PublicKey) error {
			if ssh.FingerprintSHA256(offered) != bastion.HostKeyFingerprint() {
				return fmt.Errorf("another host key")
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = client.Close() }()

	browser := http.Client{Transport: &http.Transport{DialContext: client.DialContext, DisableKeepAlives: true}}
	response, err := browser.Get("http://web.internal/hello")
	if err != nil {
		panic(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	fmt.Print(string(body))
	_, err = client.Dial("tcp", "db.internal:5432")
	fmt.Println(err)
	// Output:
	// hello from web.internal
	// ssh: rejected: administratively prohibited ("open failed")
}
