// check.go finds, before anything is connected, what cannot work.

package sshauth

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/keyfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// Check reads the files that cfg names, resolves its secrets and refuses what cannot work.
// It asks no agent. A file that does not exist (yet) is a warning; one that cannot be used
// is an error.
func (cfg *Config) Check() (warnings []string, err error) {
	c := &checker{cfg: cfg}
	for _, check := range []func() error{c.secrets, c.identities, c.certificates, c.agent, c.something} {
		if err := check(); err != nil {
			return c.warnings, err
		}
	}
	return c.warnings, nil
}

type checker struct {
	cfg      *Config
	warnings []string
	keys     int      // identities that are there, or named
	useless  []string // why default identity files do not count
}

func (c *checker) warn(format string, args ...any) {
	c.warnings = append(c.warnings, fmt.Sprintf(format, args...))
}

// secrets resolves them. It warns of those that are written as they are.
func (c *checker) secrets() error {
	if err := c.secret("password", c.cfg.Password); err != nil {
		return err
	}
	for _, f := range c.cfg.IdentityFiles {
		if err := c.secret(fmt.Sprintf("passphrase of identity_file %q", f.Path), f.Passphrase); err != nil {
			return err
		}
	}
	for n, id := range c.cfg.Identities {
		option := textOption("identity", n, id.Text)
		if c.cfg.literal(id.Text) {
			c.warn("%s is written literally and shows in the configuration; use a placeholder, {env.NAME} or {file./path}", option)
		}
		if err := c.secret("passphrase of "+option, id.Passphrase); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) secret(what, raw string) error {
	warning, err := readfile.CheckSecret(what, raw, c.cfg.Resolve)
	if warning != "" {
		c.warnings = append(c.warnings, warning)
	}
	return err
}

// identities reads the identity files, and the identities that are texts. Those that are
// generated are not generated yet, perhaps.
func (c *checker) identities() error {
	if c.cfg.NoIdentityFiles && len(c.cfg.IdentityFiles) > 0 {
		return fmt.Errorf("identity_file none contradicts identity_file %q; keep one of them", c.cfg.IdentityFiles[0].Path)
	}
	for _, f := range c.cfg.IdentityFiles {
		id, err := c.cfg.loadIdentity(f)
		switch err := c.identity(id, err); {
		case err == nil:
		case f.Optional:
			c.useless = append(c.useless, err.Error())
			c.warn("%v; it is left out, as by ssh", err)
		default:
			return err
		}
	}
	var first error
	c.cfg.loadTexts(func(id identity, err error) {
		first = cmp.Or(first, c.identity(id, err))
	})
	if c.cfg.GeneratedName() != "" {
		c.keys++
	}
	return first
}

// identity looks at an identity that was loaded with err.
func (c *checker) identity(id identity, err error) error {
	c.slow(id)
	agentMayHoldIt := err != nil && id.public != nil && c.cfg.AgentPath() != ""
	switch {
	case err == nil && isTokenKey(id.public) && c.cfg.AgentPath() == "":
		err = id.failed(errors.New("is a key on a security token, which only an agent can sign with; add it to one with ssh-add, and set identity_agent or SSH_AUTH_SOCK"))
		if !id.Default {
			return err
		}
		c.useless = append(c.useless, err.Error())
		return nil
	case err == nil || agentMayHoldIt:
		c.keys++
	case id.Default && errors.Is(err, fs.ErrNotExist):
		return nil
	case id.Default:
		c.useless = append(c.useless, err.Error())
		return nil
	case errors.Is(err, fs.ErrNotExist):
		c.keys++
		c.warn("%v; the tunnel is down until it does, unless something else lets it in%s", err, id.agentHint())
		return nil
	case errors.Is(err, errNeedsPassphrase):
		return fmt.Errorf("%w; write it behind the key, as a placeholder, or add the key to an agent", err)
	default:
		return err
	}
	switch {
	case id.Default:
	case agentMayHoldIt:
		c.warn("%v: only the agent can sign with it", err)
	case id.signer == nil && c.cfg.AgentPath() == "":
		return fmt.Errorf("%s has no private half, and there is no agent to sign with it; write the private key's path, or start an agent and set SSH_AUTH_SOCK", id.option)
	}
	if err := id.loadCertificate(); err != nil {
		c.warn("%v", err)
	}
	switch {
	case id.cert == nil:
	case !algorithms.SameKey(id.cert.Key, id.public):
		c.warn("certificate %q is for another key than %q", id.certFile, id.Path)
	default:
		c.certificate(fmt.Sprintf("certificate %q", id.certFile), id.cert)
	}
	return nil
}

// certificates reads the certificate files, and the certificates that are texts.
func (c *checker) certificates() error {
	for _, path := range c.cfg.CertificateFiles {
		cert, err := loadCertificate("certificate_file", path)
		switch {
		case err == nil:
			c.certificate(fmt.Sprintf("certificate %q", path), cert)
		case errors.Is(err, fs.ErrNotExist):
			c.warn("%v; it is taken once it does", err)
		case c.cfg.OptionalCertificates:
			c.warn("%v; it is left out, as by ssh", err)
		default:
			return err
		}
	}
	for n := range c.cfg.Certificates {
		cert, err := c.cfg.textCertificate(n)
		switch {
		case err == nil:
			c.certificate(cert.source, cert.Certificate)
		case errors.Is(err, fs.ErrNotExist):
			c.warn("%v; it is taken once it does", err)
		default:
			return err
		}
	}
	return nil
}

// certificate warns of what a bastion would not tell. source is what errors call it.
func (c *checker) certificate(source string, cert *ssh.Certificate) {
	if err := algorithms.CheckValidity(cert); err != nil {
		c.warn("%s %v and is ignored", source, err)
	}
	for _, flaw := range []string{optionFlaw(cert), principalFlaw(cert, c.cfg.User), forwardingFlaw(cert)} {
		if flaw != "" {
			c.warn("%s %s", source, flaw)
		}
	}
}

// agent looks whether the agent's socket is there.
func (c *checker) agent() error {
	path := c.cfg.AgentPath()
	if path == "" {
		return nil
	}
	if err := redact.CheckPath(path); err != nil { // of the environment, perhaps
		return fmt.Errorf("identity_agent: %w", err)
	}
	_, err := os.Stat(path)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist) && (c.keys > 0 || c.cfg.Password != ""):
		c.warn("identity_agent %q does not exist; its keys are offered once it does", path)
	case errors.Is(err, fs.ErrNotExist):
		c.warn("identity_agent %q does not exist; the tunnel is down until it does", path)
	default:
		return readfile.Error("identity_agent", path, readfile.PermissionError(path, readfile.RootCause(err)))
	}
	return nil
}

// something warns of a tunnel that has nothing to log in with: few servers accept
// the method "none" (RFC 4252 section 5.2).
func (c *checker) something() error {
	files := c.keys > 0
	agentKeys := c.cfg.AgentPath() != "" && (!c.cfg.IdentitiesOnly || len(c.cfg.CertificateFiles)+len(c.cfg.Certificates) > 0)
	if files || agentKeys || c.cfg.Password != "" {
		return nil
	}
	why := c.useless
	if c.cfg.IdentityAgent == agentFromEnvironment && c.cfg.AgentPath() == "" {
		why = append(why, "SSH_AUTH_SOCK is not set")
	}
	detail := ""
	if len(why) > 0 {
		detail = " (" + strings.Join(why, ", ") + ")"
	}
	c.warn("nothing to authenticate as %q with: no identity file, agent or password%s; the tunnel is down, unless the bastion lets this user in without any; add identity_file or password", c.cfg.User, detail)
	return nil
}

// slow warns of a key that took long to decrypt.
func (c *checker) slow(id identity) {
	if id.took <= slowDecryption {
		return
	}
	c.warn("%s took %s to decrypt; it stays decrypted in memory; ssh-keygen -p -a 16 -f %s makes it faster",
		id.option, id.took.Round(100*time.Millisecond), keyfile.Shell(cmp.Or(id.Path, "<its file>")))
}

// agentHint says what an agent could do for an identity without a private half.
func (id *identity) agentHint() string {
	if id.public == nil {
		return ""
	}
	return fmt.Sprintf(`; %q has its public key: an agent that holds it could sign with it, if SSH_AUTH_SOCK or identity_agent named one`, id.publicPath())
}
