package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-ssh-tunnel/caddy-ssh-tunnel"
)

// caddy.go writes the Caddyfile and runs Caddy with it.

// caddyfileFor returns a Caddyfile that serves the private web server on the
// port site, and the bare connections to it on the port raw.
func caddyfileFor(b *demoBastion, site, raw int) string {
	return strings.NewReplacer(
		"BASTION", b.server.Addr(),
		"IDENTITY", quote(b.identityFile),
		"KNOWN_HOSTS", quote(b.knownHosts),
		"USER", bastionUser,
		"SITE_PORT", strconv.Itoa(site),
		"RAW_PORT", strconv.Itoa(raw),
		"LOOPBACK", loopback.String(),
		"WEB", webAddress,
	).Replace(`{
	admin off
	persist_config off
	log {
		format console
		level DEBUG
		include ssh_tunnel caddy.listeners.ssh_tunnel http.log.error
	}

	ssh_tunnel {
		tunnel prod USER@BASTION {
			identity_file IDENTITY
			known_hosts KNOWN_HOSTS
		}
	}

	servers LOOPBACK:RAW_PORT {
		listener_wrappers {
			ssh_tunnel prod WEB
		}
	}
}

# A site from behind the bastion, which also resolves the upstream's name.
http://:SITE_PORT {
	bind LOOPBACK
	reverse_proxy WEB {
		transport ssh_tunnel prod
	}
}

# A port whose connections go there untouched, as with ssh -L.
http://:RAW_PORT {
	bind LOOPBACK
}
`)
}

// quote writes a path as one word of a Caddyfile.
func quote(path string) string {
	path = filepath.ToSlash(path)
	if strings.ContainsAny(path, " \t#{") {
		return "`" + path + "`"
	}
	return path
}

// startCaddy runs Caddy in this process until caddy.Stop. What it stores, it
// stores in dir.
func startCaddy(caddyfile, dir string) error {
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		if err := os.Setenv(name, dir); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	caddy.DefaultStorage.Path = dir // was set before the environment was

	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return fmt.Errorf("reading the Caddyfile: %w", err)
	}
	if err := caddy.Load(config, true); err != nil {
		return fmt.Errorf("starting Caddy: %w", err)
	}
	return nil
}
