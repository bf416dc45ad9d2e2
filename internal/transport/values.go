package transport

// values.go refuses keys in the place of the http transport's paths and
// names. Caddy would print them.

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

// checkValues is to be called before t is provisioned, which clears what it has
// read.
func checkValues(t *reverseproxy.HTTPTransport) error {
	written, err := json.Marshal(t)
	if err != nil {
		return err
	}
	var options any
	if err := json.Unmarshal(written, &options); err != nil {
		return err
	}
	return checkValue("", options)
}

// checkValue checks the value of an option, and those within it.
func checkValue(option string, value any) error {
	switch v := value.(type) {
	case string:
		// With what is known now. The rest is of each request.
		if err := redact.CheckContent(caddy.NewReplacer().ReplaceKnown(v, "")); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	case []any:
		for _, e := range v {
			if err := checkValue(option, e); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if slices.Contains(certificateOptions, name) {
				continue
			}
			if err := checkValue(name, v[name]); err != nil {
				return err
			}
		}
	}
	return nil
}
