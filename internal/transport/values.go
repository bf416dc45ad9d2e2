package transport

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// certificateOptions are those of the http transport that hold certificates
// themselves, by their JSON names.
var certificateOptions = []string{"ca", "root_ca_pool"}

// checkValues refuses keys in the place of paths and names, which Caddy would print.
// It is to be called before t is provisioned, which clears what it has read.
func checkValues(t *reverseproxy.HTTPTransport) error {
	written, err := json.Marshal(t)
	if err != nil {
		return err
	}
	var options any
	if err := json.Unmarshal(written, &options); err != nil {
		return err
	}
	walk("", options, func(option string, value any) bool {
		if s, ok := value.(string); ok && err == nil {
			// With what is known now. The rest is of each request.
			if bad := redact.CheckContent(caddy.NewReplacer().ReplaceKnown(s, "")); bad != nil {
				err = fmt.Errorf("%s: %w", option, bad)
			}
		}
		return !slices.Contains(certificateOptions, option)
	})
	return err
}

// walk calls f for a JSON value and, while that returns true, for all within it, in
// the order of their keys. key is the one behind which a value stands, or the list
// that it is in.
func walk(key string, value any, f func(key string, value any) (within bool)) {
	if !f(key, value) {
		return
	}
	switch v := value.(type) {
	case []any:
		for _, e := range v {
			walk(key, e, f)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			walk(key, v[key], f)
		}
	}
}

// WalkObjects calls f for each object within a JSON value.
func WalkObjects(value any, f func(map[string]any)) {
	walk("", value, func(_ string, value any) bool {
		if object, ok := value.(map[string]any); ok {
			f(object)
		}
		return true
	})
}

// findString returns a string within a JSON value.
func findString(value any, is func(string) bool) (found string, ok bool) {
	walk("", value, func(_ string, value any) bool {
		if s, isString := value.(string); isString && is(s) {
			found, ok = s, true
		}
		return !ok
	})
	return found, ok
}
