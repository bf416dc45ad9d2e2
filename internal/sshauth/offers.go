// offers.go decides which public keys are offered to the bastion, and in which
// order: each one that is refused counts towards its MaxAuthTries.

package sshauth

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"go.uber.org/zap"
	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/failure"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/printable"
)

// maxTries is how many attempts sshd takes by default (MaxAuthTries). Keys that the
// user did not name are offered only within that many.
const maxTries = 6

// offer is a public key to authenticate with.
type offer struct {
	signer ssh.MultiAlgorithmSigner
	what   string      // as in `publickey SHA256:… (/home/u/.ssh/id_ed25519)`
	doubt  string      // why the bastion may refuse it, or ""
	fix    string      // what helps against that, or ""
	cert   Certificate // zero for no certificate
	blob   string      // the key or certificate on the wire (RFC 4253 section 6.6)
	ranked string      // the blob that says which place it has among the offers
	named  bool        // by the user
}

// collector gathers the offers of one connect.
type collector struct {
	cfg  *Config
	log  *zap.Logger
	link *agentLink // nil for no agent
	// memory is what the bastion said to earlier logins, or nil.
	memory *Memory
	// binding is what the agent is to know of the connection, or nil.
	binding *sessionBind

	offers  []offer
	all     []offer  // the offers, and those that maxTries leaves for the next login
	skipped []string // what is not offered, and why
	seen    map[string]bool
	// waits says that the agent may have a key later, with no file changed: it
	// is locked, empty, or does not answer.
	waits bool
	// agentFix says what helps against what keeps the agent's keys from being offered,
	// or is "".
	agentFix string
	// scarce says that something could not be read because files or memory ran out.
	scarce bool
	// expired says that a certificate has, and badCert that one is not offered.
	expired, badCert bool
}

// collect reads the files and asks the agent, and finds out what to offer, in
// ssh's order: certificate files, the agent's keys, those first that an option or
// a default file names, and then the keys that are in files only. In each of these
// groups certificates come first, as in the latest ssh.
func (c *collector) collect() {
	c.seen = map[string]bool{}
	ids := c.identities()
	certs := c.certificates()
	keys := c.agentKeys(ids, certs)

	c.addCertFiles(certs, ids, keys)
	held, rest := splitHeld(ids, keys)
	c.addIdentities(held, keys)
	if !c.cfg.IdentitiesOnly {
		for _, k := range keys {
			c.add(k.public, k.signer, k.source(), false)
		}
	}
	c.addIdentities(rest, keys)
	c.choose()
}

// choose orders the offers by what earlier logins have shown, and leaves out those
// beyond maxTries that the user did not name.
func (c *collector) choose() {
	sort(c.memory, c.offers, func(o offer) string { return o.ranked })
	c.all = slices.Clone(c.offers)
	limit := maxTries
	if c.cfg.Password != "" {
		limit -= 2 // for a dialogue and the password
	}
	over, n := 0, 0
	c.offers = slices.DeleteFunc(c.offers, func(o offer) bool {
		if !o.named && n >= limit {
			over++
			return true
		}
		n++
		return false
	})
	if over > 0 {
		c.skip(fmt.Sprintf("%d others, since sshd takes %d attempts by default (MaxAuthTries); the next login begins with these", over, maxTries))
	}
}

// identities reads the identity files, and then the identities that are texts or
// generated. Those that cannot be used are left out.
func (c *collector) identities() []identity {
	var ids []identity
	add := func(id identity, err error) {
		switch {
		case err == nil, id.public != nil && c.link != nil: // which may hold its private half
		case id.Default && errors.Is(err, fs.ErrNotExist):
			return
		default:
			c.unusable(err)
			if !id.Default {
				c.log.Warn("identity is not usable", zap.Error(err))
			}
			return
		}
		if err := id.loadCertificate(); err != nil {
			c.warnCert(err)
		}
		ids = append(ids, id)
	}
	for _, file := range c.cfg.IdentityFiles {
		add(c.cfg.loadIdentity(file))
	}
	c.cfg.loadTexts(add)
	if c.cfg.GeneratedName() != "" && len(c.cfg.Generated) == 0 {
		c.skip("identity auto has no key yet")
	}
	return ids
}

// agentKeys asks the agent for its keys, if any of them would be of use.
func (c *collector) agentKeys(ids []identity, certs []namedCert) []agentKey {
	if c.link == nil {
		return nil
	}
	needed := !c.cfg.IdentitiesOnly
	for _, id := range ids {
		needed = needed || id.signer == nil
	}
	for _, cert := range certs {
		needed = needed || !slices.ContainsFunc(ids, func(id identity) bool {
			return id.signer != nil && algorithms.SameKey(id.public, cert.Key)
		})
	}
	if !needed {
		return nil
	}
	keys, restricted, err := c.link.keys(c.binding, c.log)
	c.waits = errors.Is(err, errAgentSilent) || err == nil && len(keys) == 0
	switch {
	case err != nil:
		c.log.Warn("agent is not usable", zap.Error(err))
		c.unusable(err)
		c.agentFix = agentFix(err)
	case restricted > 0:
		c.skip(fmt.Sprintf("agent at %q restricts %d of its keys to other hosts (ssh-add -h)", c.link.path, restricted))
		c.agentFix = fixAgentHosts
	case len(keys) == 0:
		c.skip(fmt.Sprintf("agent at %q has no key, or is locked (see ssh-add -l and ssh-add -X)", c.link.path))
		c.agentFix = fixAgentEmpty
	}
	slices.SortStableFunc(keys, func(a, b agentKey) int { return cmp.Compare(b.rank(), a.rank()) })
	return keys
}

// splitHeld returns the identities that the agent holds, in its order, and the
// others.
func splitHeld(ids []identity, keys []agentKey) (held, rest []identity) {
	of := func(k agentKey) func(identity) bool {
		return func(id identity) bool {
			return id.public != nil && algorithms.SameKey(id.public, algorithms.PlainKey(k.public))
		}
	}
	for _, k := range keys {
		if i := slices.IndexFunc(ids, of(k)); i >= 0 && !slices.ContainsFunc(held, of(k)) {
			held = append(held, ids[i])
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(keys, func(k agentKey) bool { return of(k)(id) }) {
			rest = append(rest, id)
		}
	}
	return held, rest
}

// addIdentities offers the certificates of identities, then their keys.
func (c *collector) addIdentities(ids []identity, keys []agentKey) {
	signers := make([]ssh.AlgorithmSigner, len(ids))
	for i, id := range ids {
		if signers[i] = id.signer; signers[i] == nil {
			signers[i] = find(keys, id.public)
		}
		found := signers[i] != nil
		if found && id.cert != nil {
			c.addCert(namedCert{id.cert, id.certFile, id.certFile, ""}, signers[i], !id.Default)
		}
		for _, k := range keys {
			if cert, ok := k.public.(*ssh.Certificate); ok && algorithms.SameKey(cert.Key, id.public) {
				found = true
				c.add(cert, k.signer, k.source(), !id.Default)
			}
		}
		switch {
		case found || id.Default:
		case isTokenKey(id.public):
			c.skip(id.option + " is a key on a security token, which only an agent can sign with, and no agent holds it; add it to one with ssh-add")
		case id.err != nil:
			c.skip(fmt.Sprintf("%v, and the agent does not hold its key", id.err))
		default:
			c.skip(id.option + " has no usable private half, and the agent does not hold it")
		}
	}
	for i, id := range ids {
		// With a certificate file, a default file is read for its private key alone.
		if signers[i] == nil || id.Default && len(c.cfg.CertificateFiles)+len(c.cfg.Certificates) > 0 {
			continue
		}
		source := id.source
		if id.signer == nil {
			source += ", signed by the agent"
		}
		n := len(c.offers)
		c.add(id.public, signers[i], source, !id.Default)
		if len(c.offers) > n && id.rankedAs != "" {
			c.offers[n].ranked = id.rankedAs
		}
	}
}

// add offers a key unless it was offered already, or cannot be used.
func (c *collector) add(public ssh.PublicKey, signer ssh.AlgorithmSigner, source string, named bool) {
	blob := string(public.Marshal())
	if c.seen[blob] {
		return
	}
	c.seen[blob] = true
	what := "publickey " + describeKey(public) + " (" + source + ")"
	if cert, ok := public.(*ssh.Certificate); ok {
		err := algorithms.CheckValidity(cert)
		if end := algorithms.ValidUntil(cert); !end.IsZero() && !time.Now().Before(end) {
			c.expired = true
		}
		if err == nil && cert.CertType != ssh.UserCert {
			err = errors.New("is not a user certificate")
		}
		if err != nil {
			c.warnCert(fmt.Errorf("%s (%s) %w", describeKey(public), source, err))
			return
		}
	}
	if err := c.cfg.CheckSize(public); err != nil {
		c.skip(fmt.Sprintf("%s: %v", what, err))
		return
	}
	algos := c.accepted(public)
	if len(algos) == 0 {
		c.skip(what + ": its algorithm is not among pubkey_accepted_algorithms")
		return
	}
	restricted, err := ssh.NewSignerWithAlgorithms(signer, algos)
	if err != nil {
		c.skip(fmt.Sprintf("%s: %v", what, err))
		return
	}
	o := offer{signer: restricted, what: what, blob: blob, ranked: blob, named: named}
	if cert, ok := public.(*ssh.Certificate); ok {
		o.cert = Certificate{Certificate: cert, FromAgent: true} // unless addCert knows better
		if flaw, fix := certificateFlaw(cert, c.cfg.User); flaw != "" {
			o.doubt, o.fix = ", which "+flaw, fix
		}
	}
	c.offers = append(c.offers, o)
}

// accepted returns the algorithms that a key may sign with.
func (c *collector) accepted(public ssh.PublicKey) []string {
	list := c.cfg.PubkeyOption().Names()
	_, isCert := public.(*ssh.Certificate)
	return slices.DeleteFunc(algorithms.OfKeyType(algorithms.PlainKey(public).Type()), func(algo string) bool {
		if isCert {
			algo = algorithms.Certificate(algo)
		}
		return !slices.Contains(list, algo)
	})
}

// unusable is skip for a file or an agent that could not be read.
func (c *collector) unusable(err error) {
	c.scarce = c.scarce || failure.Scarce(err)
	c.skip(err.Error())
}

func (c *collector) skip(why string) { c.skipped = append(c.skipped, why) }

// rank puts certificates before bare keys.
func (k agentKey) rank() int {
	if _, ok := k.public.(*ssh.Certificate); ok {
		return 1
	}
	return 0
}

func (k agentKey) source() string {
	if k.comment == "" {
		return "agent"
	}
	return fmt.Sprintf("agent, %q", printable.Text(k.comment))
}

// find returns the agent's signer for a plain key, or nil.
func find(keys []agentKey, key ssh.PublicKey) ssh.AlgorithmSigner {
	for _, k := range keys {
		if algorithms.SameKey(k.public, key) {
			return k.signer
		}
	}
	return nil
}

// describeKey names a key: `SHA256:…`, or `certificate "key id" SHA256:…`.
func describeKey(key ssh.PublicKey) string {
	if cert, ok := key.(*ssh.Certificate); ok {
		return fmt.Sprintf("certificate %q %s", printable.Text(cert.KeyId), ssh.FingerprintSHA256(cert.Key))
	}
	return ssh.FingerprintSHA256(key)
}
