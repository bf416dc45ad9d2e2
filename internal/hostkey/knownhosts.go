// knownhosts.go reads known_hosts files (sshd(8)) and matches their host names
// as OpenSSH does.

package hostkey

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the file format's, to hide names, not to prove anything
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/algorithms"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/readfile"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// The known_hosts package of x/crypto/ssh, and those built on
// it, are not used: they refuse a whole file for one bad line, do not match a
// wildcard or a bare host name against another port as OpenSSH does, and say of
// a mismatch neither the file nor the line.

// The markers of known_hosts lines.
const (
	markerCA      = "cert-authority"
	markerRevoked = "revoked"
)

// knownLine is a line of a known_hosts file.
type knownLine struct {
	marker   string
	patterns []string // lower-case and not empty; or one hashed name
	key      ssh.PublicKey
	source   string // as in "/etc/ssh/ssh_known_hosts:12"
	// exact says that it does not count for a bare host, which has another port.
	exact bool
}

// badLine is a line that cannot be used.
type badLine struct {
	source string
	err    error
	// revokes says that the line is meant to revoke a key, and does not: nobody
	// can say which one.
	revokes bool
	// hosts are those that it is about, as written, or "" if a word is missing.
	hosts string
	// whole says that it is the whole file; first that only its first name is.
	whole, first bool
}

// maxSkipped is how many lines of a file warnings and errors name.
const maxSkipped = 3

// name is how warnings and errors name the line.
func (b *badLine) name() string {
	if b.whole {
		return "known_hosts " + b.source
	}
	return "known_hosts line " + b.source
}

// warning says that the line is skipped, and why.
func (b *badLine) warning() string {
	if b.first {
		return fmt.Sprintf("%s is skipped for its first name: %v", b.name(), b.err)
	}
	return fmt.Sprintf("%s is skipped: %v", b.name(), b.err)
}

// revocationError says that what the line revokes is not known.
func (b *badLine) revocationError() error {
	return fmt.Errorf("%s is to revoke a key and cannot be read: %w; correct it, or remove it", b.name(), b.err)
}

// revocation begins a line that is meant to revoke a key.
var revocation = []byte("@revo")

// isAbout reports whether a bad line may be about the host. One with a name that cannot
// be read may be about any.
func (b *badLine) isAbout(names hostNames) bool {
	patterns, err := parsePatterns(b.hosts)
	if err != nil {
		return true
	}
	l := knownLine{patterns: patterns}
	return l.matches(names.name) || l.matches(names.bare)
}

// parseKnownHosts parses a known_hosts file. It returns apart what it cannot parse:
// one bad line must not make every other host unknown.
func parseKnownHosts(file string, data []byte) (lines []knownLine, bad []badLine) {
	if err := readfile.UTF16Error(file, data); err != nil {
		ascii := bytes.ToLower(bytes.ReplaceAll(data, []byte{0}, nil))
		return nil, []badLine{{source: file, err: err, revokes: bytes.Contains(ascii, revocation), whole: true}}
	}
	number := 0
	for text := range bytes.Lines(data) {
		number++
		text, _, _ = bytes.Cut(text, []byte{0}) // which ends a string in C
		text = bytes.TrimRight(bytes.TrimLeft(text, " \t"), " \t\r\n")
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		line, err := parseKnownLine(text)
		source := fmt.Sprintf("%s:%d", file, number)
		if mark := readfile.ByteOrderMarkError(file, text); mark != nil && number == 1 {
			rest := bytes.TrimPrefix(text, []byte("\ufeff"))
			bad = append(bad, badLine{source: source, err: mark, revokes: isRevocation(rest), hosts: hostsOf(rest), first: len(line.patterns) > 1})
		} else if err != nil {
			bad = append(bad, badLine{source: source, err: err, revokes: isRevocation(text) && !isForeignKey(text), hosts: hostsOf(text)})
		}
		if err == nil {
			line.source = source
			lines = append(lines, line)
		}
	}
	return lines, bad
}

// hostsOf returns the hosts of a line that has all its words, or "".
func hostsOf(text []byte) string {
	_, rest := cutMarker(string(text))
	hosts, rest := cutWord(rest)
	if _, blob := cutWord(rest); blob == "" {
		return ""
	}
	return hosts
}

// isRevocation reports whether a line is meant to revoke a key, the marker misspelt
// perhaps.
func isRevocation(text []byte) bool {
	return len(text) >= len(revocation) && bytes.EqualFold(text[:len(revocation)], revocation)
}

// isForeignKey reports whether a @revoked line is well formed, and its key of a type
// that is not supported: no server can be accepted with it anyway.
func isForeignKey(text []byte) bool {
	words := bytes.Fields(text)
	if len(words) < 4 || string(words[0]) != "@"+markerRevoked {
		return false
	}
	blob, err := base64.StdEncoding.DecodeString(string(words[3]))
	if err != nil {
		return false
	}
	_, err = ssh.ParsePublicKey(blob)
	// x/crypto/ssh has no name for this error. Without its words, the line is
	// refused.
	return err != nil && strings.Contains(err.Error(), "unknown key algorithm") && bytes.HasPrefix(blob, wireString(words[2]))
}

// wireString returns a string as SSH sends it (RFC 4251 section 5).
func wireString(s []byte) []byte { return ssh.Marshal(struct{ S string }{string(s)}) }

// cutWord returns the first word of a text, and what follows it.
func cutWord(text string) (word, rest string) {
	end := strings.IndexAny(text, " \t")
	if end < 0 {
		return text, ""
	}
	return text[:end], strings.TrimLeft(text[end:], " \t")
}

// cutMarker returns the marker of a line without its "@", if it has one, and what
// follows it.
func cutMarker(text string) (marker, rest string) {
	if !strings.HasPrefix(text, "@") {
		return "", text
	}
	return cutWord(text[1:])
}

func parseKnownLine(text []byte) (knownLine, error) {
	marker, rest := cutMarker(string(text))
	switch marker {
	case "", markerCA, markerRevoked:
	default:
		return knownLine{}, fmt.Errorf("unknown marker %s", redact.Quote("@"+marker))
	}
	hosts, rest := cutWord(rest)
	kind, rest := cutWord(rest)
	blob, _ := cutWord(rest)
	if kind == "" || blob == "" {
		return knownLine{}, errors.New("too few words")
	}
	if marker == markerCA && text[len("@"+marker)] == '\t' && bytes.ContainsRune(text, ' ') {
		// ssh ends a marker at the first space, wherever that is.
		return knownLine{}, errors.New("a tab follows @cert-authority, where ssh needs a space")
	}
	patterns, err := parsePatterns(hosts)
	if err != nil {
		return knownLine{}, err
	}
	key, err := parsePublicKey(kind + " " + strings.Join(strings.Fields(blob), ""))
	if err != nil {
		return knownLine{}, fmt.Errorf("its key %w", err)
	}
	return knownLine{marker: marker, patterns: patterns, key: key}, nil
}

// parsePatterns returns the patterns of a line, in lower case, or its hashed name.
func parsePatterns(hosts string) ([]string, error) {
	if strings.HasPrefix(hosts, "|") {
		if _, _, err := splitHash(hosts); err != nil {
			return nil, errors.New("malformed hashed name")
		}
		return []string{hosts}, nil
	}
	patterns := slices.DeleteFunc(strings.Split(strings.ToLower(hosts), ","), func(h string) bool { return h == "" })
	if len(patterns) == 0 || patterns[0][0] == '@' {
		return nil, errors.New("no host name")
	}
	return patterns, nil
}

// matches reports whether the line is about the host. Its name is lower-case,
// and "[host]:port" where the port is not 22.
func (l *knownLine) matches(name string) bool {
	if name == "" {
		return false
	}
	if l.patterns[0][0] == '|' {
		salt, hash, err := splitHash(l.patterns[0])
		return err == nil && hmac.Equal(hash, hashName(salt, name))
	}
	return sshsyntax.MatchAny(l.patterns, name)
}

// splitHash splits "|1|salt|hash".
func splitHash(s string) (salt, hash []byte, err error) {
	parts := strings.Split(s, "|")
	if len(parts) != 4 || parts[1] != "1" {
		return nil, nil, errors.New("not of the form |1|salt|hash")
	}
	if salt, err = base64.StdEncoding.DecodeString(parts[2]); err != nil {
		return nil, nil, err
	}
	if hash, err = base64.StdEncoding.DecodeString(parts[3]); err == nil && (len(salt) != sha1.Size || len(hash) != sha1.Size) {
		err = errors.New("of the wrong length")
	}
	return salt, hash, err
}

func hashName(salt []byte, name string) []byte {
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return mac.Sum(nil)
}

// hostNames are the names under which a server is looked up.
type hostNames struct {
	host string // its certificate's principal: the alias or the host
	name string // the alias, the host, or "[host]:port"
	bare string // the host, where name has a port; else ""
}

// lookupNames returns the names of an address and an alias. As in OpenSSH, an
// alias stands for host and port.
func lookupNames(address, alias string) hostNames {
	if alias != "" {
		alias = strings.ToLower(alias)
		return hostNames{host: alias, name: alias}
	}
	host, port, err := net.SplitHostPort(strings.ToLower(address))
	if err != nil { // refused by Check
		host, port = strings.ToLower(address), "22"
	}
	if port == "22" {
		return hostNames{host: host, name: host}
	}
	return hostNames{host: host, name: "[" + host + "]:" + port, bare: host}
}

// knownTo are the lines of known_hosts files about one host, by marker.
type knownTo struct {
	keys, authorities, revoked []knownKey
	// bare are plain keys of the bare host, which has another port where keys are. As
	// with ssh, they count in a certificate.
	bare []knownKey
	// certificatesFirst reports whether ssh asks for a certificate of any type first.
	certificatesFirst bool
}

// knownKey is a key and where it is written.
type knownKey struct {
	ssh.PublicKey
	source string
}

// about picks the lines about a host. A key listed under the bare host also
// counts for another port, but only where none is listed with the port.
func about(lines []knownLine, names hostNames) knownTo {
	var known knownTo
	exactAuthority := false
	for _, l := range lines {
		key := knownKey{l.key, l.source}
		exact, loose := l.matches(names.name), !l.exact && l.matches(names.bare)
		switch {
		case !exact && !loose:
		case l.marker == markerCA:
			known.authorities = append(known.authorities, key)
			exactAuthority = exactAuthority || exact
		case l.marker == markerRevoked:
			known.revoked = append(known.revoked, key)
		case exact:
			known.keys = append(known.keys, key)
		default:
			known.bare = append(known.bare, key)
		}
	}
	known.certificatesFirst = exactAuthority || len(known.keys) == 0
	if len(known.keys) == 0 {
		known.keys, known.bare = known.bare, nil
	}
	return known
}

// know makes known what is configured, and more lines of known_hosts.
func (v *Verifier) know(more []knownLine) {
	v.known = about(slices.Concat(v.lines, more), v.names)
	v.known.keys = append(v.known.keys, v.written.keys...)
	v.known.authorities = append(v.known.authorities, v.written.authorities...)
	v.known.revoked = append(v.known.revoked, v.written.revoked...)
	v.known.certificatesFirst = v.known.certificatesFirst || v.written.certificatesFirst
}

// has returns the entry that is the given plain key.
func has(keys []knownKey, key ssh.PublicKey) (knownKey, bool) {
	i := slices.IndexFunc(keys, func(k knownKey) bool { return algorithms.SameKey(k.PublicKey, key) })
	if i < 0 {
		return knownKey{}, false
	}
	return keys[i], true
}
