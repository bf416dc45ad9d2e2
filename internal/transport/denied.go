package transport

import (
	"encoding/json"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// deniedField marks the response to a request that was denied. No server can send
// a field of this name.
const deniedField = ":denied"

// statusDenied is the status of that response, which no client sees. HTTP does not
// use it (RFC 9110 section 15.4.7). An unhealthy_status or lb_retry_match that
// is about the upstream's answers thus does not match a denial.
const statusDenied = 306

// deny answers a request that must not be sent, and says why. The answer is a
// response: to Caddy an error means that the upstream has failed. It would count
// that against an upstream that other clients use, and try again.
func (t *Transport) deny(req *http.Request, why error) (*http.Response, error) {
	t.report(req, nil)
	setRetryAfter(req, nil)
	if req.Body != nil {
		_ = req.Body.Close()
	}
	if req.Context().Value(caddyhttp.VarsCtxKey) == nil {
		return nil, why // it is an active health check, which shows it in the log
	}
	res := &http.Response{
		StatusCode: http.StatusForbidden,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header),
		Body:       http.NoBody,
		Request:    req,
	}
	if t.raises {
		res.StatusCode = statusDenied
		res.Header[deniedField] = []string{why.Error()}
	}
	res.Status = http.StatusText(res.StatusCode)
	return res, nil
}

// raiseDenials makes the handler turn denials into errors with status 403, which
// handle_errors sees. It is to be called before the handler provisions its
// response handlers, of which the first one that matches is used.
func raiseDenials(h *reverseproxy.Handler) {
	raise := caddyhttp.ResponseHandler{
		Match: &caddyhttp.ResponseMatcher{Headers: http.Header{deniedField: {}}},
		Routes: caddyhttp.RouteList{{HandlersRaw: []json.RawMessage{json.RawMessage(
			`{"handler": "error", "status_code": 403, "error": "{http.reverse_proxy.header.` + deniedField + `}"}`)}}},
	}
	h.HandleResponse = append([]caddyhttp.ResponseHandler{raise}, h.HandleResponse...)
}
