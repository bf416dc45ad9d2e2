package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/adminapi"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestAskingErrors: the error when Caddy cannot be asked, or refuses.
func TestAskingErrors(t *testing.T) {
	answers := func(status int, body string) adminapi.Client {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body)
		}))
		t.Cleanup(server.Close)
		return adminapi.Client(server.Listener.Addr().String())
	}
	for want, admin := range map[string]adminapi.Client{
		"connection refused; is it running":          adminapi.Client(net.JoinHostPort("127.0.0.1", strconv.Itoa(sshtest.NewPort(t)))),
		"knows no tunnels; is it a Caddy with this":  answers(404, "404 page not found"),
		"host not allowed: x":                        answers(403, `{"error":"host not allowed: x"}`),
		"HTTP 502: oh":                               answers(502, "oh"),
		"answers in other words than this plugin":    answers(200, `{"no": "array"}`),
		`unknown tunnel "prdo"; no tunnel is config`: answers(200, `[]`),
		`unknown tunnel "prdo"; configured: a, b`:    answers(200, `[{"tunnel":"a"},{"tunnel":"b"}]`),
		`"unix//nowhere/admin.sock"`:                 adminapi.Client("unix//nowhere/admin.sock"),
	} {
		_, _, err := admin.Tunnels(t.Context(), []string{"prdo"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestAskingEnds: who does not answer is not waited for for ever.
func TestAskingEnds(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer server.Close()
	defer close(hang)
	admin := adminapi.Client(server.Listener.Addr().String())

	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := admin.Tunnels(ctx, nil); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("got %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, _, err := admin.Tunnels(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
