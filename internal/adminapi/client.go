package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/contract"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialer"
)

// answerTimeout is how long Caddy may take to answer.
const answerTimeout = 10 * time.Second

// Client is where a running Caddy's admin API is.
type Client string

// ask makes a request and returns what Caddy answers. Errors tell what to do.
func (a Client) ask(ctx context.Context, method, path string) ([]byte, error) {
	type answer struct {
		body []byte
		err  error
	}
	answered := make(chan answer, 1)
	// It returns when Caddy has answered, or at the end of the process: the
	// request takes no context.
	go func() {
		response, err := caddycmd.AdminAPIRequest(string(a), method, path, nil, nil)
		if err != nil {
			answered <- answer{err: a.explain(err)}
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			err = a.explain(err)
		}
		answered <- answer{body, err}
	}()
	select {
	case got := <-answered:
		return got.body, got.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("what listens at %q does not answer; is that Caddy's admin API?", string(a))
		}
		return nil, ctx.Err()
	}
}

// explain says what it can mean that a request has failed.
func (a Client) explain(err error) error {
	status, body, answered := contract.AdminError(err)
	if !answered {
		return fmt.Errorf("asking Caddy at %q: %s; is it running, and not with admin off? --address or --config says where its admin API is", string(a), contract.AdminCause(err))
	}
	var said struct {
		Error string `json:"error"`
	}
	switch _ = json.Unmarshal([]byte(body), &said); {
	case said.Error != "":
		return errors.New(said.Error)
	case status == "404":
		return fmt.Errorf("what listens at %q knows no tunnels; is it a Caddy with this plugin?", string(a))
	default:
		return fmt.Errorf("asking Caddy at %q: HTTP %s: %s", string(a), status, strings.TrimSpace(body))
	}
}

// Tunnels returns the status of the named tunnels, or of all: as Caddy answers, and
// as it reads.
func (a Client) Tunnels(ctx context.Context, names []string) (answered []json.RawMessage, read []Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body, err := a.ask(ctx, http.MethodGet, Path+"tunnels")
	if err != nil {
		return nil, nil, err
	}
	if err = json.Unmarshal(body, &answered); err == nil {
		err = json.Unmarshal(body, &read)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("what listens at %q answers in other words than this plugin: %w", string(a), err)
	}
	if len(names) == 0 {
		return answered, read, nil
	}
	known := Names(read)
	var answeredOfThese []json.RawMessage
	var these []Status
	for _, name := range names {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, nil, dialer.UnknownTunnel(name, known)
		}
		answeredOfThese, these = append(answeredOfThese, answered[i]), append(these, read[i])
	}
	return answeredOfThese, these, nil
}

// Names returns the names of tunnels.
func Names(tunnels []Status) []string {
	names := make([]string, len(tunnels))
	for i := range tunnels {
		names[i] = tunnels[i].Tunnel
	}
	return names
}

// Reconnect makes new connections take over from those of a tunnel.
func (a Client) Reconnect(name string) (s Status, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	body, err := a.ask(ctx, http.MethodPost, Path+"tunnels/"+url.PathEscape(name)+"/reconnect")
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}
