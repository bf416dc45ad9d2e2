package sshconfig

// keywords.go lists the keywords of ssh_config(5).

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// keyword says how a keyword's arguments are taken.
type keyword struct {
	// max is how many arguments there may be; 0 is any number.
	max int

	// raw takes the rest of the line as the only argument.
	raw bool

	// repeats keeps the arguments of every line rather than of the first.
	repeats bool

	// check refuses arguments that mean nothing. It may be nil.
	check func(args []string) error
}

// taken are the keywords that say something about a connection.
var taken = map[string]keyword{
	"addressfamily":            {max: 1, check: checks(parseFamily)},
	"bindaddress":              {max: 1},
	"casignaturealgorithms":    {max: 1},
	"certificatefile":          {max: 1, repeats: true},
	"ciphers":                  {max: 1},
	"connecttimeout":           {max: 1, check: checks(parseTime)},
	"globalknownhostsfile":     {check: checkList},
	"hostkeyalgorithms":        {max: 1},
	"hostkeyalias":             {max: 1},
	"hostname":                 {max: 1, check: checkHostName},
	"identitiesonly":           {max: 1, check: checks(parseFlag)},
	"identityagent":            {max: 1},
	"identityfile":             {max: 1, repeats: true},
	"ignoreunknown":            {max: 1},
	"kexalgorithms":            {max: 1},
	"macs":                     {max: 1},
	"port":                     {max: 1, check: checks(parsePort)},
	"proxycommand":             {raw: true},
	"proxyjump":                {max: 1, check: checks(parseJumps)},
	"pubkeyacceptedalgorithms": {max: 1},
	"refuseconnection":         {},
	"rekeylimit":               {max: 2, check: checkRekeyLimit},
	"requiredrsasize":          {max: 1, check: checks(parseNumber)},
	"revokedhostkeys":          {check: checkList},
	"serveralivecountmax":      {max: 1, check: checks(parseNumber)},
	"serveraliveinterval":      {max: 1, check: checks(parseTime)},
	"stricthostkeychecking":    {max: 1, check: checks(parseStrict)},
	"tag":                      {max: 1},
	"user":                     {max: 1},
	"userknownhostsfile":       {check: checkList},
}

// notTaken are keywords that would make a difference, and the value with which
// they make none. Any other is warned of.
var notTaken = map[string]string{
	"bindinterface":            "none",
	"canonicalizehostname":     "no",
	"knownhostscommand":        "none",
	"pkcs11provider":           "none",
	"preferredauthentications": "",
	"pubkeyauthentication":     "yes",
	"verifyhostkeydns":         "no",
}

// synonyms are older names of keywords.
var synonyms = map[string]string{
	"dsaauthentication":      "pubkeyauthentication",
	"identityfile2":          "identityfile",
	"pubkeyacceptedkeytypes": "pubkeyacceptedalgorithms",
	"smartcarddevice":        "pkcs11provider",
}

// passedOver are keywords that say nothing about a connection that only
// carries channels, or that are written elsewhere for it. Nobody needs to be
// told of them.
var passedOver = strings.Fields(`
	addkeystoagent afstokenpassing batchmode canonicaldomains
	canonicalizefallbacklocal canonicalizemaxdots canonicalizepermittedcnames
	challengeresponseauthentication channeltimeout checkhostip cipher
	clearallforwardings compression compressionlevel connectionattempts
	controlmaster controlpath controlpersist dynamicforward
	enableescapecommandline enablesshkeysign escapechar exitonforwardfailure
	fallbacktorsh fingerprinthash forkafterauthentication forwardagent
	forwardx11 forwardx11timeout forwardx11trusted gatewayports
	globalknownhostsfile2 gssapiauthentication gssapiclientidentity
	gssapidelegatecredentials gssapikexalgorithms gssapikeyexchange
	gssapirenewalforcesrekey gssapiserveridentity gssapitrustdns hashknownhosts
	hostbasedacceptedalgorithms hostbasedauthentication hostbasedkeytypes ipqos
	kbdinteractiveauthentication kbdinteractivedevices keepalive
	kerberosauthentication kerberostgtpassing localcommand localforward loglevel
	logverbose nohostauthenticationforlocalhost numberofpasswordprompts
	obscurekeystroketiming passwordauthentication permitlocalcommand
	permitremoteopen protocol proxyusefdpass remotecommand remoteforward
	requesttty rhostsauthentication rhostsrsaauthentication rsaauthentication
	securitykeyprovider sendenv sessiontype setenv skeyauthentication stdinnull
	streamlocalbindmask streamlocalbindunlink syslogfacility tcpkeepalive
	tisauthentication tunnel tunneldevice updatehostkeys useprivilegedport
	userknownhostsfile2 useroaming usersh versionaddendum visualhostkey
	warnweakcrypto xauthlocation
`)

// maxKeyword is longer than any keyword.
const maxKeyword = 40

// rekeyInterval is what RekeyLimit's second argument is kept as.
const rekeyInterval = "rekeylimit interval"

// Keywords returns, in lower case, the keywords that are taken, and those that
// are not and that a Reader warns of. Host, Match and Include are neither.
func Keywords() (takenOnes, warnedOf []string) {
	return slices.Sorted(maps.Keys(taken)), slices.Sorted(maps.Keys(notTaken))
}

// take takes a line in. One that is not active is only checked.
func (e *evaluation) take(l line, active bool) error {
	name := l.keyword
	if synonym, ok := synonyms[name]; ok {
		name = synonym
	}
	k, ok := taken[name]
	if _, warned := notTaken[name]; !ok && !warned {
		switch {
		case !active || slices.Contains(passedOver, name) || matchList(name, strings.ToLower(e.values.first("ignoreunknown"))):
		case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || len(name) > maxKeyword:
			// Of a file that is none of ssh_config, perhaps, and is secret.
			e.reader.warn("no keyword", "%s: what does not begin with a keyword is passed over", l.pos)
		default:
			e.reader.warn("keyword "+name, "%s: unknown keyword %q is passed over", l.pos, l.written)
		}
		return nil
	}
	args := l.args
	if k.raw {
		args = []string{l.raw}
	}
	if err := l.check(); err != nil && !k.raw { // a command is not shown
		return err
	}
	switch {
	case k.max > 0 && len(args) > k.max:
		return fmt.Errorf("%s: %s has more arguments than %d", l.pos, l.written, k.max)
	case slices.Contains(args, ""):
		return fmt.Errorf("%s: %s has an empty argument", l.pos, l.written)
	}
	if k.check != nil {
		if err := k.check(args); err != nil {
			return fmt.Errorf("%s: %s: %w", l.pos, l.written, err)
		}
	}
	if !active {
		return nil
	}
	if name == "rekeylimit" && len(args) == 2 {
		// Of both arguments the first that is written counts, each for itself.
		if interval := args[1]; interval != "none" {
			e.values.add(rekeyInterval, entry{args: []string{interval}, keyword: l.written, pos: l.pos}, false)
		}
		args = args[:1]
	}
	e.values.add(name, entry{args: args, keyword: l.written, pos: l.pos}, k.repeats)
	return nil
}

// warnNotTaken tells of what would make a difference to ssh.
func (e *evaluation) warnNotTaken() {
	for _, name := range slices.Sorted(maps.Keys(notTaken)) {
		harmless := notTaken[name]
		if v, ok := e.values.get(name); ok && !strings.EqualFold(v.args[0], harmless) {
			e.reader.warn("keyword "+name, "%s: %s is not supported and is passed over", v.pos, v.keyword)
		}
	}
}

// checks makes a check of a parser of one argument.
func checks[T any](parse func(string) (T, error)) func([]string) error {
	return func(args []string) error {
		_, err := parse(args[0])
		return err
	}
}

func checkList(args []string) error {
	_, err := isNone(args)
	return err
}

func checkHostName(args []string) error {
	_, err := expandTokens(args[0], tokens{'h': ""})
	return err
}
