package sshconfig

// keywords.go lists the keywords of ssh_config(5).

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// keyword says how a keyword's arguments are taken.
type keyword struct {
	// max is how many arguments there may be, and one at least; 0 is any number.
	max int

	// raw takes the rest of the line as the only argument.
	raw bool

	// repeats keeps the arguments of every line rather than of the first.
	repeats bool

	// check refuses arguments that mean nothing. It may be nil.
	check check
}

// taken are the keywords that say something about a connection.
var taken = map[string]keyword{
	"addressfamily":                    {max: 1, check: one(parseFamily)},
	"batchmode":                        {max: 1, check: flag},
	"bindaddress":                      {max: 1},
	"canonicaldomains":                 {check: each(checkDomain)},
	"canonicalizehostname":             {max: 1, check: word("yes", "no", "true", "false", "always")},
	"canonicalizemaxdots":              {max: 1, check: one(parseNumber)},
	"canonicalizepermittedcnames":      {check: each(checkCNAME)},
	"casignaturealgorithms":            {max: 1, check: one(parseKeyTypes)},
	"certificatefile":                  {max: 1, repeats: true},
	"clearallforwardings":              {max: 1, check: flag},
	"dynamicforward":                   {max: 1, repeats: true, check: checkForward('D')},
	"gatewayports":                     {max: 1, check: flag},
	"localforward":                     {max: 2, repeats: true, check: checkForward('L')},
	"remoteforward":                    {max: 2, repeats: true, check: checkForward('R')},
	"streamlocalbindmask":              {max: 1, check: one(parseMask)},
	"streamlocalbindunlink":            {max: 1, check: flag},
	"ciphers":                          {max: 1, check: algorithmList(ciphers)},
	"connecttimeout":                   {max: 1, check: one(parseTime)},
	"globalknownhostsfile":             {check: checkList},
	"hostkeyalgorithms":                {max: 1, check: one(parseKeyTypes)},
	"hostkeyalias":                     {max: 1},
	"hostname":                         {max: 1},
	"identitiesonly":                   {max: 1, check: one(parseFlag)},
	"identityagent":                    {max: 1, check: one(parseAgent)},
	"identityfile":                     {max: 1, repeats: true},
	"ignoreunknown":                    {max: 1},
	"kexalgorithms":                    {max: 1, check: algorithmList(keyExchanges)},
	"knownhostscommand":                {raw: true},
	"macs":                             {max: 1, check: algorithmList(macs)},
	"nohostauthenticationforlocalhost": {max: 1, check: flag},
	"port":                             {max: 1, check: one(parsePort)},
	"preferredauthentications":         {max: 1, check: text},
	"proxycommand":                     {raw: true},
	"proxyjump":                        {max: 1, check: one(parseJumps)},
	"proxyusefdpass":                   {max: 1, check: flag},
	"pubkeyacceptedalgorithms":         {max: 1, check: one(parseKeyTypes)},
	"pubkeyauthentication":             {max: 1, check: word("yes", "no", "true", "false", "unbound", "host-bound")},
	"refuseconnection":                 {},
	"rekeylimit":                       {max: 2, check: checkRekeyLimit},
	"requiredrsasize":                  {max: 1, check: one(parseNumber)},
	"revokedhostkeys":                  {check: atLeastOne(checkList)},
	"serveralivecountmax":              {max: 1, check: one(parseNumber)},
	"serveraliveinterval":              {max: 1, check: one(parseTime)},
	"stricthostkeychecking":            {max: 1, check: one(parseStrict)},
	"tag":                              {max: 1},
	"updatehostkeys":                   {max: 1, check: one(parseUpdate)},
	"user":                             {max: 1},
	"userknownhostsfile":               {check: checkList},
}

// notTaken are keywords that would make a difference, and the value with which
// they make none. Any other is warned of.
var notTaken = map[string]struct {
	harmless string
	check    check
}{
	"bindinterface":           {"none", text},
	"gssapiauthentication":    {"no", flag},
	"hostbasedauthentication": {"no", flag},
	"pkcs11provider":          {"none", text},
	"verifyhostkeydns":        {"no", word("yes", "no", "true", "false", "ask")},
}

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

// maxKeyword is longer than any keyword.
const maxKeyword = 40

// rekeyInterval is what RekeyLimit's second argument is kept as.
const rekeyInterval = "rekeylimit interval"

// Keywords returns, in lower case, the keywords that are taken, and those that
// are not and that a Reader warns of. Host, Match and Include are neither.
func Keywords() (takenOnes, warnedOf []string) {
	return slices.Sorted(maps.Keys(taken)), slices.Sorted(maps.Keys(notTaken))
}

// canonicalName returns the name in lower case that a keyword is kept under, and
// whether ssh knows it.
func canonicalName(keyword string) (name string, known bool) {
	name = strings.ToLower(keyword)
	if synonym, ok := synonyms[name]; ok {
		name = synonym
	}
	_, isTaken := taken[name]
	_, isNotTaken := notTaken[name]
	_, isIgnored := ignored[name]
	switch name {
	case "host", "match", "include":
		return name, true
	case "usekeychain": // of Apple's ssh alone
		return name, runtime.GOOS == "darwin"
	}
	return name, isTaken || isNotTaken || isIgnored
}

var (
	errNoArgument    = errors.New("has no argument")
	errEmpty         = errors.New("has an empty argument")
	errManyArguments = errors.New("has more arguments than 1; quote one that has spaces")
)

// take takes a line in. One that is not active is only checked.
func (e *evaluation) take(l line, active bool) error {
	name, known := canonicalName(l.keyword)
	if !known {
		if matchList(name, strings.ToLower(e.values.first("ignoreunknown"))) {
			return nil
		}
		return l.unknown()
	}
	k, isTaken := taken[name]
	if !isTaken {
		k = keyword{check: ignored[name]}
		if warned, ok := notTaken[name]; ok {
			k.check = warned.check
		}
	}
	args := l.args
	switch {
	case k.raw:
		args = []string{l.raw}
	case name == "proxyjump" && len(args) > 0:
		args = []string{strings.Join(args, " ")} // of the host's name, ssh complains later
	}
	_, isIgnored := ignored[name]
	err := l.checkArguments(k, args)
	if keyErr := l.check(); keyErr != nil && !k.raw && (err != nil || !isIgnored) {
		return keyErr // err would show it
	}
	if err != nil || isIgnored || !active || len(args) == 0 {
		return err
	}
	if _, set := e.values.get(name); name == "hostname" && !set {
		// ssh looks at the one in effect alone.
		if _, err := (sshsyntax.Tokens{'h': ""}).Expand(args[0]); err != nil {
			return fmt.Errorf("%s: %s: %w", l.pos, l.written, err)
		}
	}
	if name == "rekeylimit" && len(args) == 2 {
		// Of both arguments the first that is written counts, each for itself.
		if interval := args[1]; interval != "none" {
			e.values.add(rekeyInterval, entry{args: []string{interval}, keyword: l.written, pos: l.pos, system: e.system}, false)
		}
		args = args[:1]
	}
	e.values.add(name, entry{args: args, keyword: l.written, pos: l.pos, system: e.system}, k.repeats)
	return nil
}

// checkArguments refuses arguments that ssh refuses, too.
func (l line) checkArguments(k keyword, args []string) error {
	if k.raw {
		return nil // a command is not shown
	}
	var err error
	switch {
	case k.max > 0 && len(args) == 0:
		err = errNoArgument
	case k.max == 1 && len(args) > 1:
		err = errManyArguments
	case k.max > 0 && len(args) > k.max:
		err = fmt.Errorf("has more arguments than %d", k.max)
	case k.max > 0 && slices.Contains(args, ""):
		err = errEmpty
	case k.check != nil:
		if err = k.check(args); err != nil && !errors.Is(err, errNoArgument) && !errors.Is(err, errEmpty) && !errors.Is(err, errManyArguments) {
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
	for _, name := range slices.Sorted(maps.Keys(notTaken)) {
		v, ok := e.values.get(name)
		value := strings.ToLower(cmp.Or(e.values.first(name), notTaken[name].harmless))
		if value == "false" {
			value = "no"
		}
		if ok && value != notTaken[name].harmless && e.tries(name, v) {
			e.reader.warn("keyword "+name, "%s: %s is not supported and is ignored", v.pos, v.keyword)
		}
	}
}

// methods are the methods of authentication that keywords are about.
var methods = map[string]string{"gssapiauthentication": "gssapi-with-mic", "hostbasedauthentication": "hostbased"}

// tries reports whether ssh would try the method of authentication that a keyword
// switches on, if it is one. Debian's ssh_config has GSSAPIAuthentication yes for
// everybody, whether there is a Kerberos or not.
func (e *evaluation) tries(name string, v entry) bool {
	method, ok := methods[name]
	preferred := e.values.first("preferredauthentications")
	return !ok || !v.system && (preferred == "" || slices.Contains(strings.Split(preferred, ","), method))
}

func checkList(args []string) error {
	if slices.Contains(args, "") {
		return errEmpty
	}
	_, err := isNone(args)
	return err
}

// atLeastOne refuses a list without arguments.
func atLeastOne(list check) check {
	return func(args []string) error {
		if len(args) == 0 {
			return errNoArgument
		}
		return list(args)
	}
}
