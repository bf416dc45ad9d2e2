package sshtunnel

// network_acme.go keeps the challenges of certificate authorities off the
// network ssh_tunnel, which the ACME client cannot listen on.

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// Where a challenge is listened for instead, without need: the authority comes
// to the bastion, and there the site answers it. Nor do these ports need rights,
// or matter if another has them.
const (
	challengeHost      = "127.0.0.1"
	challengeHTTPPort  = 20080
	challengeHTTPSPort = 20443
)

// moveChallenges changes the ACME issuers that the Caddyfile adapter has given a
// site's `bind` as the host to listen on for challenges. They would fail with
// "lookup ssh_tunnel/prod: no such host". It has to be called before any app
// starts.
func moveChallenges(ctx caddy.Context) error {
	app, err := ctx.AppIfConfigured("tls")
	if err != nil {
		return nil //nolint:nilerr // there is none, or Caddy says what is wrong with it
	}
	tls, ok := app.(*caddytls.TLS)
	if !ok || tls.Automation == nil {
		return nil
	}
	for _, policy := range tls.Automation.Policies {
		moved := false
		for _, issuer := range policy.Issuers {
			acme, ok := issuer.(interface {
				GetACMEIssuer() *caddytls.ACMEIssuer
			})
			if !ok || !moveChallenge(acme.GetACMEIssuer().Challenges) {
				continue
			}
			moved = true
			if err := acme.GetACMEIssuer().Provision(ctx); err != nil {
				return fmt.Errorf("moving challenges off the network %s: %w", networkName, err)
			}
		}
		if !moved {
			continue
		}
		if err := policy.RebuildCertMagic(tls); err != nil {
			return fmt.Errorf("moving challenges off the network %s: %w", networkName, err)
		}
	}
	return nil
}

// moveChallenge changes where challenges are listened for, and tells whether it
// had to.
func moveChallenge(c *caddytls.ChallengesConfig) bool {
	if c == nil || !strings.HasPrefix(c.BindHost, networkName+"/") {
		return false
	}
	c.BindHost = challengeHost
	if c.HTTP == nil {
		c.HTTP = new(caddytls.HTTPChallengeConfig)
	}
	if c.HTTP.AlternatePort == 0 {
		c.HTTP.AlternatePort = challengeHTTPPort
	}
	if c.TLSALPN == nil {
		c.TLSALPN = new(caddytls.TLSALPNChallengeConfig)
	}
	if c.TLSALPN.AlternatePort == 0 {
		c.TLSALPN.AlternatePort = challengeHTTPSPort
	}
	return true
}
