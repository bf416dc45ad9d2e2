package sshconfig

// similar.go says what is wrong with a keyword that is not known.

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/redact"
)

// spellings are the keywords as ssh_config(5) writes them.
var spellings = strings.Fields(`
	Host Match Include AddKeysToAgent AddressFamily BatchMode BindAddress
	BindInterface CanonicalDomains CanonicalizeFallbackLocal CanonicalizeHostname
	CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms
	CertificateFile ChannelTimeout CheckHostIP Ciphers ClearAllForwardings
	Compression ConnectionAttempts ConnectTimeout ControlMaster ControlPath
	ControlPersist DynamicForward EnableEscapeCommandline EnableSSHKeysign
	EscapeChar ExitOnForwardFailure FingerprintHash ForkAfterAuthentication
	ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted GatewayPorts
	GlobalKnownHostsFile GSSAPIAuthentication GSSAPIDelegateCredentials
	HashKnownHosts HostbasedAcceptedAlgorithms HostbasedAuthentication
	HostKeyAlgorithms HostKeyAlias Hostname IdentitiesOnly IdentityAgent
	IdentityFile IgnoreUnknown IPQoS KbdInteractiveAuthentication
	KbdInteractiveDevices KexAlgorithms KnownHostsCommand LocalCommand LocalForward
	LogLevel LogVerbose MACs NoHostAuthenticationForLocalhost
	NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication
	PermitLocalCommand PermitRemoteOpen PKCS11Provider Port
	PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass
	PubkeyAcceptedAlgorithms PubkeyAuthentication RefuseConnection RekeyLimit
	RemoteCommand RemoteForward RequestTTY RequiredRSASize RevokedHostKeys
	SecurityKeyProvider SendEnv ServerAliveCountMax ServerAliveInterval SessionType
	SetEnv StdinNull StreamLocalBindMask StreamLocalBindUnlink
	StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive Tunnel TunnelDevice
	UpdateHostKeys User UserKnownHostsFile VerifyHostKeyDNS VersionAddendum
	VisualHostKey WarnWeakCrypto XAuthLocation
`)

// ofServers are keywords of sshd_config(5) that people write here.
var ofServers = strings.Fields(`
	acceptenv allowgroups allowtcpforwarding allowusers authorizedkeysfile
	authenticationmethods clientalivecountmax clientaliveinterval denygroups
	denyusers forcecommand hostkey listenaddress logingracetime maxauthtries
	maxsessions maxstartups permitemptypasswords permitlisten permitopen
	permitrootlogin permittunnel permittty printmotd subsystem trustedusercakeys
	usedns usepam x11forwarding
`)

// unknown is the error of a line whose keyword ssh does not know either. It does
// not show the keyword if the file may be one of secrets.
func (l line) unknown() error {
	say := func(format string, args ...any) error {
		return fmt.Errorf(l.pos+": "+format, args...)
	}
	similar := similarKeyword(l.written)
	if r, first := odd(l.written); first && similar != "" {
		return say("the character U+%04X stands where %s is expected, which ssh refuses; delete it", r, similar)
	}
	plain := strings.Trim(l.keyword, "abcdefghijklmnopqrstuvwxyz0123456789") == "" && len(l.keyword) <= maxKeyword
	switch {
	case similar != "" && redact.Check(l.written) == nil:
		return say("unknown keyword %q; did you mean %s?", l.written, similar)
	case similar != "":
		return say("unknown keyword; did you mean %s?", similar)
	case !plain || !l.ours:
		return say("this is not a keyword of ssh_config(5), and ssh refuses it; correct the line, or name another file")
	case slices.Contains(ofServers, l.keyword):
		return say("%s is a keyword of sshd_config(5), which ssh refuses here; remove it", l.written)
	case l.pos == optionPos:
		return say("unknown keyword %q, which ssh refuses as well; remove it, or write -o IgnoreUnknown=%s before it", l.written, l.written)
	default:
		return say("unknown keyword %q, which ssh refuses as well; remove it, or write IgnoreUnknown %s above it", l.written, l.written)
	}
}

// odd returns the first character of a word if it is one that nobody sees or
// types, such as a no-break space.
func odd(word string) (r rune, is bool) {
	for _, r := range word {
		return r, r > unicode.MaxASCII && !unicode.IsLetter(r)
	}
	return 0, false
}

// similarKeyword returns the keyword that was probably meant, or "".
func similarKeyword(word string) string {
	letters := func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	name := strings.ToLower(strings.TrimFunc(word, letters))
	if i := strings.IndexFunc(name, letters); i > 0 && len(name) < 2*maxKeyword {
		if _, known := canonicalName(name[:i]); known && name[i] != '-' && name[i] != '_' {
			name = name[:i] // as in Port:22
		} else {
			name = strings.Map(func(r rune) rune { // as in Host-Name
				if letters(r) {
					return -1
				}
				return r
			}, name)
		}
	}
	if len(name) < 3 || len(name) > maxKeyword {
		return ""
	}
	best, least := "", 3
	for _, spelling := range spellings {
		d := distance(name, strings.ToLower(spelling))
		if d < least && 3*d < len(name)+1 {
			best, least = spelling, d
		}
	}
	return best
}

// distance returns how many letters to insert, remove, replace or swap with their
// neighbour to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
