// login.go says which attempts to log in share their failures: those that would
// fail for the same reason, whatever their tunnels are called.

package connect

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/connlimit"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/filewatch"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
)

// login returns the keys of a host's records. jump is the key of the tunnel
// jumped through, or "".
func (cfg *Config) login(jump string) connlimit.Login {
	reach := *cfg
	reach.Name, reach.Fallbacks, reach.UpdateHostKeys = "", nil, false
	return connlimit.Login{
		Reach: connlimit.Key{Of: "reach " + digest(reach, jump)},
		HostKeys: connlimit.Key{Of: "host keys " + digest(
			cfg.KnownHosts, cfg.HostKeys, cfg.HostCertificateAuthorities, cfg.HostKeyAlias, cfg.RevokedHostKeys,
			cfg.KnownHostsCommand, cfg.TrustLoopback, cfg.AcceptNewHostKey, cfg.InsecureIgnoreHostKey, cfg.HostKeyAlgorithms, cfg.CASignatureAlgorithms, cfg.RequiredRSASize,
		)},
		Credentials: connlimit.Key{Of: "credentials " + digest(
			cfg.User, cfg.IdentityFiles, cfg.Identities, cfg.CertificateFiles, cfg.Certificates, cfg.Auth().AgentPath(), cfg.IdentitiesOnly, cfg.Password, cfg.PreferredAuthentications,
			cfg.PubkeyAcceptedAlgorithms, cfg.RequiredRSASize,
		)},
	}
}

// Login returns the host's login at a pace: what does not answer within one tunnel's time
// may do so within another's.
func (h *Host) Login(pace Pace) connlimit.Login {
	login := h.login
	login.Reach.Timeout, login.Reach.Delay = pace.Timeout, pace.Delay
	return login
}

// digest shows nothing of what it is of.
func digest(parts ...any) string {
	// Marshalling strings, numbers and structs and lists of them cannot fail.
	b, _ := json.Marshal(parts)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// wayTo describes the way to a host, by what is on it and not by any name: the
// same address by another way may be another machine's.
func (cfg *Config) wayTo(jump *Jump) string {
	switch {
	case jump != nil:
		return " via " + strings.ToLower(strings.Join(jump.Config.Addresses(), ",")) + jump.Config.wayTo(jump.Via)
	case cfg.Proxy != nil:
		return " via " + cfg.Proxy.String()
	case len(cfg.ProxyCommand) > 0:
		return fmt.Sprintf(" via %q", cfg.ProxyCommand)
	default:
		return ""
	}
}

// recallTimeout bounds a look at what may have been forgotten.
const recallTimeout = 2 * time.Second

// FilesChanged forgets what a host has refused for files and secrets that have changed
// since, and reports whether there was any.
func (c *Connector) FilesChanged(ctx context.Context, h *Host) bool {
	return h.Limiter.FilesChanged(h.Login(c.state().Pace), c.stamps(ctx, h))
}

// stamps reads what a login at a host depends on.
func (c *Connector) stamps(ctx context.Context, h *Host) connlimit.Stamps {
	keys := c.hostKeys(h)
	hostKeys := contentStamp(keys.Files())
	if keys.Memory != nil {
		ctx, cancel := context.WithTimeout(ctx, recallTimeout)
		defer cancel()
		switch learned, err := keys.Memory.Recall(ctx, keys.Route()); {
		case err != nil:
			hostKeys += "learned: unknown"
		case learned != nil:
			var fingerprints []string
			for _, k := range learned.Keys {
				fingerprints = append(fingerprints, ssh.FingerprintSHA256(k.Key))
			}
			hostKeys += "learned: " + strings.Join(fingerprints, " ")
		}
	}
	return connlimit.Stamps{
		h.login.HostKeys:    hostKeys,
		h.login.Credentials: contentStamp(h.cfg.Auth().Files()) + h.cfg.secretStamp() + c.generatedStamp(ctx),
	}
}

// contentStamp changes when the content of one of the files does, or when it can
// be read or no longer can. A file that is written again as it was has not changed.
func contentStamp(paths []string) string {
	var all strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&all, "%q ", path)
		info, err := os.Stat(path)
		if err == nil && !info.Mode().IsRegular() { // an agent's socket, a pipe
			all.WriteString(filewatch.Stamp([]string{path}))
			continue
		}
		data, err := readfile.All(path)
		switch {
		case err == nil:
			fmt.Fprintf(&all, "%x\n", sha256.Sum256(data))
		case errors.Is(err, fs.ErrNotExist):
			all.WriteString("absent\n")
		default:
			all.WriteString("unreadable\n")
		}
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:])
}

// stampKey keeps a stamp from telling anybody which secret it is of.
var stampKey = func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails
	return key
}()

// secretStamp changes when the value of a secret does that has come from a
// placeholder, of a file for one.
func (cfg *Config) secretStamp() string {
	if cfg.Resolve == nil {
		return ""
	}
	mac := hmac.New(sha256.New, stampKey)
	for _, raw := range cfg.Auth().Secrets() {
		value, err := cfg.Resolve(raw)
		_, _ = fmt.Fprintf(mac, "%t %q ", err == nil, value)
	}
	return hex.EncodeToString(mac.Sum(nil))
}
