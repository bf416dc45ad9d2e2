//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bind_acme_test.go has Caddy get certificates from Pebble, a certificate
// authority for tests that looks at the bastion as a public one does. It is
// github.com/letsencrypt/pebble/v2/cmd/pebble.

// Where Pebble looks for the answers to its challenges. Caddy listens for them
// on the same ports here, if it does.
const (
	pebbleHTTP = 5002
	pebbleTLS  = 5001
)

// startPebble runs Pebble inside, and returns the URL of its directory and the
// file of the authority for that.
func (b *bastion) startPebble() (url, roots string) {
	b.t.Helper()
	path, ca := program(b.t, "pebble"), sshtest.NewCA()
	cert, key := sshtest.EncodePEM(ca.Issue(b.netns.Addr()))
	config := fmt.Sprintf(`{"pebble": {"listenAddress": "%s:14000", "certificate": %q, "privateKey": %q, "httpPort": %d, "tlsPort": %d}}`,
		b.netns.Addr(), sshtest.WriteFile(b.t, "pebble.pem", cert), sshtest.WriteFile(b.t, "pebble-key.pem", key), pebbleHTTP, pebbleTLS)
	cmd := b.netns.Command(path, "-config", sshtest.WriteFile(b.t, "pebble.json", []byte(config)))
	cmd.Env = []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0"}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return fmt.Sprintf("https://%s:14000/dir", b.netns.Addr()), sshtest.WriteFile(b.t, "pebble-ca.pem", ca.PEM())
}

// TestBindCertificate gets a certificate by each challenge that leads to the
// bastion.
func TestBindCertificate(t *testing.T) {
	const host = "home.example.com"
	for challenge, disabled := range map[string]string{
		"http":     "disable_tlsalpn_challenge",
		"tls-alpn": "disable_http_challenge",
	} {
		t.Run(challenge, func(t *testing.T) {
			b := newEmptyBastion(t, "GatewayPorts clientspecified\n")
			b.netns.SetHosts("127.0.0.1 " + host)
			directory, roots := b.startPebble()
			// The tunnel first: Caddy tries again only after a minute.
			c := startCaddy(t, func(*caddy) string {
				return b.bound("", fmt.Sprintf("http://:%d {\nbind ssh_tunnel/prod/*\n}\n", anyPort))
			})
			_ = b.dialOutside(anyPort).Close()
			c.reload(b.bound(fmt.Sprintf("http_port %d\nhttps_port %d\ncert_issuer acme {\ndir %s\ntrusted_roots %s\n%s\n}", pebbleHTTP, pebbleTLS, directory, roots, disabled),
				fmt.Sprintf("%s {\nbind ssh_tunnel/prod/*\nrespond hello\n}\n", host)))
			sshtest.Eventually(t, 4*patience, "Caddy has the certificate", func() bool {
				return c.logged("certificate obtained successfully", host)
			})
			client := b.visitor(pebbleTLS, sshtest.NewCA())
			client.Transport.(*http.Transport).TLSClientConfig.InsecureSkipVerify = true // Pebble makes up its root
			response, err := client.Get("https://" + host)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			t.Logf("issued by %v", response.TLS.PeerCertificates[0].Issuer)
		})
	}
}
