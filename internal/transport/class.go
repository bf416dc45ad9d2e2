package transport

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/tunnel"
)

// classOf returns the class of the channel that a request needs. It is a Stream
// if the request says beforehand that the channel will live long, and mostly be
// quiet:
//
//   - an upgrade, such as a WebSocket. The reverse proxy makes one of the
//     extended CONNECT of an HTTP/2 or HTTP/3 client, too. An offer of h2c is
//     none: clients make it with any request, and hardly a server takes it up;
//   - what a browser's EventSource sends: a GET that accepts text/event-stream
//     and nothing else. With anything else in the list it may be a short
//     answer that is wanted.
//
// All others are a Request, though they may turn out to be streams: long polls,
// gRPC, events fetched in other ways. The tunnel sees those when they have been
// quiet for long.
func classOf(req *http.Request) tunnel.Class {
	if isUpgrade(req.Header) || req.Method == http.MethodGet && wantsEvents(req.Header) {
		return tunnel.Stream
	}
	return tunnel.Request
}

// isUpgrade asks as the reverse proxy does when the answer comes. An Upgrade
// that Connection does not name means nothing.
func isUpgrade(h http.Header) bool {
	to := h.Get("Upgrade")
	return to != "" && !strings.EqualFold(to, "h2c") && httpguts.HeaderValuesContainsToken(h["Connection"], "Upgrade")
}

func wantsEvents(h http.Header) bool {
	accept := h["Accept"]
	if len(accept) != 1 {
		return false
	}
	accepted, _, _ := strings.Cut(accept[0], ";") // its parameters
	isList := strings.Contains(accept[0], ",")
	return !isList && strings.EqualFold(strings.TrimSpace(accepted), "text/event-stream")
}
