package sshconfig

// keywords.go lists the keywords of ssh_config(5).

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// keyword says how a keyword's arguments are taken.
type keyword struct {
	// name is what the arguments are kept under: in lower case, the synonym's if the
	// keyword has one.
	name string

	// ignored says that it says nothing about a tunnel.
	ignored bool

	// max is how many arguments there may be. Default: 1.
	max int

	// mayLack says that there may be no argument.
	mayLack bool

	// raw takes the rest of the line as the only argument, whatever it is.
	raw bool

	// repeats keeps the arguments of every line rather than of the first.
	repeats bool

	// check refuses arguments that mean nothing. It may be nil.
	check func(args []string) error
}

// many is the max of a list.
const many = math.MaxInt

// taken are the keywords that say something about a connection.
var taken = map[string]keyword{
	"AddressFamily":            {check: one(parseFamily)},
	"BatchMode":                {check: one(parseFlag)},
	"BindAddress":              {},
	"CASignatureAlgorithms":    {},
	"CertificateFile":          {repeats: true},
	"Ciphers":                  {},
	"ClearAllForwardings":      {check: one(parseFlag)},
	"ConnectTimeout":           {check: one(parseTime)},
	"DynamicForward":           {repeats: true, check: checkForward},
	"GatewayPorts":             {check: one(parseFlag)},
	"GlobalKnownHostsFile":     {max: many, mayLack: true, check: checkList},
	"HostKeyAlgorithms":        {},
	"HostKeyAlias":             {},
	"Hostname":                 {},
	"IdentitiesOnly":           {check: one(parseFlag)},
	"IdentityAgent":            {check: one(parseAgent)},
	"IdentityFile":             {repeats: true},
	"IgnoreUnknown":            {},
	"KexAlgorithms":            {},
	"LocalForward":             {max: 2, repeats: true, check: checkForward},
	"MACs":                     {},
	"Port":                     {check: one(parsePort)},
	"PreferredAuthentications": {},
	"ProxyCommand":             {raw: true},
	"ProxyJump":                {check: one(parseJumps)},
	"PubkeyAcceptedAlgorithms": {},
	"PubkeyAuthentication":     {check: one(parsePubkey)},
	"RefuseConnection":         {max: many},
	"RekeyLimit":               {max: 2, check: checkRekeyLimit},
	"RemoteForward":            {max: 2, repeats: true, check: checkForward},
	"RequiredRSASize":          {check: one(parseNumber)},
	"RevokedHostKeys":          {max: many, check: checkList},
	"ServerAliveCountMax":      {check: one(parseNumber)},
	"ServerAliveInterval":      {check: one(parseTime)},
	"StreamLocalBindMask":      {check: one(parseMask)},
	"StreamLocalBindUnlink":    {check: one(parseFlag)},
	"StrictHostKeyChecking":    {check: one(parseStrict)},
	"Tag":                      {},
	"User":                     {},
	"UserKnownHostsFile":       {max: many, mayLack: true, check: checkList},
}

// notTaken are keywords that would make a difference, and the value with which
// they make none. Any other is warned of.
var notTaken = map[string]string{
	"BindInterface": "none", "CanonicalizeHostname": "no", "KnownHostsCommand": "none", "PKCS11Provider": "none", "VerifyHostKeyDNS": "no",
}

// ignoredFlags, ignoredNumbers and ignored are the keywords that a tunnel does not need.
// ssh checks the arguments of all of them. Here those of the last do not matter: a newer
// ssh may take more.
var (
	ignoredFlags = strings.Fields(`
		CanonicalizeFallbackLocal CheckHostIP EnableEscapeCommandline
		EnableSSHKeysign ExitOnForwardFailure ForkAfterAuthentication ForwardX11
		ForwardX11Trusted GSSAPIAuthentication GSSAPIDelegateCredentials
		HashKnownHosts HostbasedAuthentication KbdInteractiveAuthentication
		NoHostAuthenticationForLocalhost PasswordAuthentication PermitLocalCommand
		ProxyUseFdpass StdinNull TCPKeepAlive VisualHostKey
	`)
	ignoredNumbers = strings.Fields(`CanonicalizeMaxDots ConnectionAttempts NumberOfPasswordPrompts`)
	ignored        = strings.Fields(`
		AddKeysToAgent CanonicalDomains CanonicalizePermittedCNAMEs ChannelTimeout
		Compression ControlMaster ControlPath ControlPersist EscapeChar FingerprintHash
		ForwardAgent ForwardX11Timeout HostbasedAcceptedAlgorithms IPQoS
		KbdInteractiveDevices LocalCommand LogLevel LogVerbose
		ObscureKeystrokeTiming PermitRemoteOpen RemoteCommand RequestTTY
		SecurityKeyProvider SendEnv SessionType SetEnv SyslogFacility Tunnel
		TunnelDevice UpdateHostKeys VersionAddendum WarnWeakCrypto XAuthLocation
	`)
)

// rare are ignored, too, and are no correction of a typo: those of Debian's ssh, and
// those that have no meaning any more.
var rare = strings.Fields(`
	gssapiclientidentity gssapikexalgorithms gssapikeyexchange
	gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns
	protocolkeepalives setuptimeout
	afstokenpassing cipher compressionlevel fallbacktorsh globalknownhostsfile2
	kerberosauthentication kerberostgtpassing protocol rhostsauthentication
	rhostsrsaauthentication rsaauthentication useprivilegedport
	userknownhostsfile2 useroaming usersh
`)

// synonyms are older names of keywords.
var synonyms = map[string]string{
	"challengeresponseauthentication": "kbdinteractiveauthentication",
	"dsaauthentication":               "pubkeyauthentication",
	"hostbasedkeytypes":               "hostbasedacceptedalgorithms",
	"identityfile2":                   "identityfile",
	"keepalive":                       "tcpkeepalive",
	"pubkeyacceptedkeytypes":          "pubkeyacceptedalgorithms",
	"rsaminsize":                      "requiredrsasize", // of Red Hat's ssh
	"skeyauthentication":              "kbdinteractiveauthentication",
	"smartcarddevice":                 "pkcs11provider",
	"tisauthentication":               "kbdinteractiveauthentication",
}

// blocks are the keywords that evaluation.file takes.
var blocks = []string{"Host", "Match", "Include"}

// spellings are the keywords as ssh_config(5) writes them.
var spellings = slices.Concat(blocks, ignoredFlags, ignoredNumbers, ignored, slices.Sorted(maps.Keys(taken)), slices.Sorted(maps.Keys(notTaken)))

// keywords are all that ssh knows, in lower case.
var keywords = allKeywords()

func allKeywords() map[string]keyword {
	all := map[string]keyword{}
	add := func(spelling string, k keyword) {
		k.name = strings.ToLower(spelling)
		all[k.name] = k
	}
	for spelling, k := range taken {
		add(spelling, k)
	}
	for spelling := range notTaken {
		add(spelling, keyword{max: many, mayLack: true, raw: spelling == "KnownHostsCommand"})
	}
	for _, spelling := range ignoredFlags {
		add(spelling, keyword{ignored: true, check: one(parseFlag)})
	}
	for _, spelling := range ignoredNumbers {
		add(spelling, keyword{ignored: true, check: one(parseNumber)})
	}
	rest := slices.Concat(blocks, ignored, rare)
	if runtime.GOOS == "darwin" {
		rest = append(rest, "UseKeychain") // of Apple's ssh alone
	}
	for _, spelling := range rest {
		add(spelling, keyword{ignored: true, raw: true})
	}
	for synonym, name := range synonyms {
		all[synonym] = all[name]
	}
	return all
}

// isKnown reports whether ssh knows a keyword.
func isKnown(word string) bool {
	_, known := keywords[strings.ToLower(word)]
	return known
}

// maxKeyword is longer than any keyword.
const maxKeyword = 40

// rekeyInterval is what RekeyLimit's second argument is kept as.
const rekeyInterval = "rekeylimit interval"

// Keywords returns, in lower case, the keywords that are taken, and those that
// are not and that a Reader warns of. Host, Match and Include are neither.
func Keywords() (takenOnes, warnedOf []string) {
	for _, spelling := range slices.Sorted(maps.Keys(taken)) {
		takenOnes = append(takenOnes, strings.ToLower(spelling))
	}
	for _, spelling := range slices.Sorted(maps.Keys(notTaken)) {
		warnedOf = append(warnedOf, strings.ToLower(spelling))
	}
	return takenOnes, warnedOf
}

var (
	errNoArgument = errors.New("has no argument")
	errEmpty      = errors.New("has an empty argument")
)

// take takes a line in. One that is not active is only checked.
func (e *evaluation) take(l line, active bool) error {
	k, known := keywords[l.keyword]
	if !known {
		if matchList(l.keyword, strings.ToLower(e.values.first("ignoreunknown"))) {
			return nil
		}
		return l.unknown()
	}
	args := l.args
	switch {
	case k.raw:
		args = []string{l.raw}
	case k.name == "proxyjump" && len(args) > 0:
		args = []string{strings.Join(args, " ")} // of the host's name, ssh complains later
	}
	if !k.raw { // a command is not shown
		err := l.checkArguments(k, args)
		if err != nil || !k.ignored {
			err = cmp.Or(l.check(), err) // which would show the argument
		}
		if err != nil {
			return err
		}
	}
	if k.ignored || !active || len(args) == 0 {
		return nil
	}
	if _, set := e.values.get(k.name); k.name == "hostname" && !set {
		// ssh looks at the one in effect alone.
		if _, err := (sshsyntax.Tokens{'h': ""}).Expand(args[0]); err != nil {
			return fmt.Errorf("%s: %s: %w", l.pos, l.written, err)
		}
	}
	if k.name == "rekeylimit" && len(args) == 2 {
		// Of both arguments the first that is written counts, each for itself.
		if interval := args[1]; interval != "none" {
			e.values.add(rekeyInterval, entry{args: []string{interval}, keyword: l.written, pos: l.pos}, false)
		}
		args = args[:1]
	}
	e.values.add(k.name, entry{args: args, keyword: l.written, pos: l.pos}, k.repeats)
	return nil
}

// checkArguments refuses arguments that ssh refuses, too.
func (l line) checkArguments(k keyword, args []string) error {
	var err error
	switch most := cmp.Or(k.max, 1); {
	case len(args) == 0 && !k.mayLack:
		err = errNoArgument
	case len(args) > most:
		err = fmt.Errorf("has more arguments than %d; quote one that has spaces", most)
	case slices.Contains(args, ""):
		err = errEmpty
	case k.check != nil:
		if err := k.check(args); err != nil {
			return fmt.Errorf("%s: %s: %w", l.pos, l.written, err)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %s %w", l.pos, l.written, err)
	}
	return nil
}

// warnNotTaken warns of what would make a difference to ssh.
func (e *evaluation) warnNotTaken() {
	for _, spelling := range slices.Sorted(maps.Keys(notTaken)) {
		name := strings.ToLower(spelling)
		if v, ok := e.values.get(name); ok && !strings.EqualFold(v.args[0], notTaken[spelling]) {
			e.reader.warn("keyword "+name, "%s: %s is not supported and is ignored", v.pos, v.keyword)
		}
	}
}
