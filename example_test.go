package sshtunnel_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/crypto/ssh"

	sshtunnel "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/caddytest"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// An HTTP client that reaches hosts behind the bastion. In a plugin, ctx is what Provision
// gets.
func ExampleDialer_DialContext() {
	ctx, stop := runCaddy() // which has the tunnel prod
	defer stop()

	dialer, err := sshtunnel.LookupDialer(ctx, "prod")
	if err != nil {
		panic(err)
	}
	transport := &http.Transport{DialContext: dialer.DialContext, IdleConnTimeout: time.Minute}
	defer transport.CloseIdleConnections() // a plugin does so in Cleanup

	response, err := (&http.Client{Transport: transport}).Get("http://web.internal/hello")
	if err != nil {
		panic(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	fmt.Print(string(body))
	// Output: hello from web.internal
}

// What a plugin can tell from an error.
func ExampleDialer_DialContext_errors() {
	ctx, stop := runCaddy() // which has the tunnel prod, with permit_open web.internal:*
	defer stop()

	dialer, err := sshtunnel.LookupDialer(ctx, "prod")
	if err != nil {
		panic(err)
	}
	for _, address := range []string{"web.internal:81", "db.internal:5432"} {
		_, err := dialer.DialContext(context.Background(), "tcp", address)
		if down, ok := errors.AsType[*sshtunnel.DownError](err); ok {
			fmt.Println("the tunnel is down; try again in", down.RetryAfter)
		} else if denied, ok := errors.AsType[*sshtunnel.DeniedError](err); ok {
			fmt.Println(denied.Target, "is not permitted")
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			fmt.Println("nothing listens at", address)
		} else if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// nothing listens at web.internal:81
	// db.internal:5432 is not permitted
}

// runCaddy runs Caddy with the tunnel prod, whose bastion reaches web.internal:80. It
// returns the context of the configuration.
func runCaddy() (ctx caddy.Context, stop func()) {
	web, err := sshtest.ListenWeb(sshtest.WebOptions{Name: "web.internal"})
	if err != nil {
		panic(err)
	}
	bastion, err := sshtest.ListenBastion(sshtest.BastionOptions{
		Password: "secret",
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "web.internal:80" {
				return nil, &ssh.OpenChannelError{Reason: ssh.ConnectionFailed, Message: "Connection refused"}
			}
			return new(net.Dialer).DialContext(ctx, network, web.Addr())
		},
	})
	if err != nil {
		panic(err)
	}
	config, err := caddytest.Adapt(fmt.Sprintf("{\nadmin off\npersist_config off\nlog {\noutput discard\n}\nssh_tunnel {\ntunnel prod deploy@%s {\npassword secret\nhost_key %s\npermit_open web.internal:*\n}\n}\n}\n",
		bastion.Addr(), bastion.HostKeyFingerprint()))
	if err != nil {
		panic(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		panic(err)
	}
	if err := caddy.Run(&cfg); err != nil {
		panic(err)
	}
	return caddy.ActiveContext(), func() {
		_ = caddy.Stop()
		_ = bastion.Close()
		_ = web.Close()
	}
}
