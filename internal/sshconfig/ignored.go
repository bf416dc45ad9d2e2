package sshconfig

// ignored.go lists the keywords that say nothing about a tunnel, and what ssh
// takes behind them.

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// check refuses arguments that ssh refuses, too.
type check func(args []string) error

// ignored are the keywords of ssh_config(5) that a tunnel does not need, those of
// newer and older versions of OpenSSH and of Debian included. Their arguments are
// checked as ssh checks them.
var ignored = map[string]check{
	"addkeystoagent":               checkAddKeys,
	"canonicalizefallbacklocal":    flag,
	"checkhostip":                  flag,
	"compression":                  word("yes", "no"),
	"connectionattempts":           one(parseNumber),
	"controlmaster":                word("yes", "no", "true", "false", "auto", "ask", "autoask"),
	"controlpath":                  text,
	"controlpersist":               one(parsePersist),
	"enableescapecommandline":      flag,
	"enablesshkeysign":             flag,
	"escapechar":                   one(parseEscape),
	"exitonforwardfailure":         flag,
	"fingerprinthash":              word("md5", "sha1", "sha256", "sha384", "sha512"),
	"forkafterauthentication":      flag,
	"forwardagent":                 one(parseAgent),
	"forwardx11":                   flag,
	"forwardx11timeout":            one(parseTime),
	"forwardx11trusted":            flag,
	"gssapidelegatecredentials":    flag,
	"gssapikeyexchange":            flag,
	"gssapirenewalforcesrekey":     flag,
	"gssapitrustdns":               flag,
	"gssapiclientidentity":         text,
	"gssapiserveridentity":         text,
	"gssapikexalgorithms":          algorithmList(gssKeyExchanges),
	"hashknownhosts":               flag,
	"hostbasedacceptedalgorithms":  one(parseKeyTypes),
	"ipqos":                        checkIPQoS,
	"kbdinteractiveauthentication": flag,
	"kbdinteractivedevices":        text,
	"localcommand":                 anything,
	"loglevel":                     word("quiet", "fatal", "error", "info", "verbose", "debug", "debug1", "debug2", "debug3"),
	"logverbose":                   checkList,
	"numberofpasswordprompts":      one(parseNumber),
	"passwordauthentication":       flag,
	"permitlocalcommand":           flag,
	"permitremoteopen":             checkPermit,
	"remotecommand":                anything,
	"requesttty":                   word("yes", "no", "true", "false", "force", "auto"),
	"securitykeyprovider":          text,
	"sendenv":                      checkSendEnv,
	"sessiontype":                  word("none", "subsystem", "default"),
	"setenv":                       checkSetEnv,
	"stdinnull":                    flag,
	"syslogfacility":               word(strings.Fields("daemon user auth authpriv local0 local1 local2 local3 local4 local5 local6 local7")...),
	"tcpkeepalive":                 flag,
	"tunnel":                       word("yes", "no", "true", "false", "point-to-point", "ethernet"),
	"tunneldevice":                 one(parseTunnelDevice),
	"visualhostkey":                flag,
	"xauthlocation":                text,

	// Of newer versions: ssh may take more in the next one.
	"channeltimeout": anything, "obscurekeystroketiming": anything, "versionaddendum": anything, "warnweakcrypto": anything,
	// Of Debian's.
	"protocolkeepalives": one(parseTime), "setuptimeout": one(parseTime),
	// ssh takes anything behind these, which have no meaning any more.
	"afstokenpassing": anything, "cipher": anything, "compressionlevel": anything, "fallbacktorsh": anything,
	"globalknownhostsfile2": anything, "kerberosauthentication": anything, "kerberostgtpassing": anything,
	"protocol": anything, "rhostsauthentication": anything, "rhostsrsaauthentication": anything,
	"rsaauthentication": anything, "useprivilegedport": anything, "userknownhostsfile2": anything,
	"useroaming": anything, "usersh": anything,
}

var (
	flag = word("yes", "no", "true", "false")
	text = one(func(s string) (string, error) { return s, nil })
)

func anything([]string) error { return nil }

// one makes a check of a parser of one argument, which is not empty.
func one[T any](parse func(string) (T, error)) check {
	return func(args []string) error {
		switch {
		case len(args) == 0:
			return errNoArgument
		case len(args) > 1:
			return errManyArguments
		case args[0] == "":
			return errEmpty
		}
		_, err := parse(args[0])
		return err
	}
}

// word checks for one of several words. Their case does not matter.
func word(words ...string) check {
	return one(func(s string) (string, error) {
		if !slices.Contains(words, strings.ToLower(s)) {
			return "", fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
		}
		return s, nil
	})
}

// each checks the arguments of a list, or for none alone.
func each(valid func(string) error) check {
	return func(args []string) error {
		if none, err := isNone(args); none || err != nil {
			return err
		}
		for _, arg := range args {
			if arg == "" {
				return errEmpty
			}
			if err := valid(arg); err != nil {
				return err
			}
		}
		return nil
	}
}

func checkDomain(s string) error {
	switch {
	case strings.Trim(s[:1], "._-") == "":
		return fmt.Errorf("%q does not begin with a letter or digit", s)
	case strings.Contains(s, ".."):
		return fmt.Errorf("%q has two dots in a row", s)
	case strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "":
		return fmt.Errorf("%q is not a domain", s)
	}
	return nil
}

func checkCNAME(s string) error {
	if _, target, ok := strings.Cut(s, ":"); s != "*" && (!ok || target == "") {
		return fmt.Errorf("%q is not <source>:<target>", s)
	}
	return nil
}

// checkAddKeys takes yes, no, ask, confirm with or without a time, or a time.
func checkAddKeys(args []string) error {
	if len(args) == 0 {
		return errNoArgument
	}
	err := word("yes", "no", "true", "false", "ask", "confirm")(args[:1])
	switch {
	case len(args) > 2 || len(args) == 2 && !strings.EqualFold(args[0], "confirm"):
		return errors.New("has too many arguments; only confirm takes a second one, a time")
	case len(args) == 2:
		_, err = parseDuration(args[1])
	case err != nil:
		if _, timeErr := parseDuration(args[0]); timeErr == nil {
			return nil
		}
	}
	return err
}

// parsePersist reads yes, no or a time.
func parsePersist(s string) (string, error) {
	if slices.Contains([]string{"yes", "no", "true", "false"}, s) {
		return s, nil
	}
	if _, err := parseDuration(s); err != nil {
		return "", fmt.Errorf("%q is neither yes nor no nor a time", s)
	}
	return s, nil
}

// parseEscape reads a character, ^ and a letter, or none.
func parseEscape(s string) (string, error) {
	if s == "none" || len(s) == 1 || len(s) == 2 && s[0] == '^' && s[1] >= 64 && s[1] < 128 {
		return s, nil
	}
	return "", fmt.Errorf("%q is not a character, ^ and a letter, or none", s)
}

// parseAgent reads a path, in which variables of the environment are set. The
// agent's own is looked up at each connect.
func parseAgent(s string) (string, error) {
	if s == "${SSH_AUTH_SOCK}" {
		return s, nil
	}
	if _, err := sshsyntax.Tokens(nil).ExpandAll(strings.ReplaceAll(s, "%", "%%")); err != nil {
		return "", err
	}
	if name, ok := strings.CutPrefix(s, "$"); ok && !strings.HasPrefix(name, "{") &&
		(name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "") {
		return "", fmt.Errorf("%q is not $ and the name of a variable", s)
	}
	return s, nil
}

// checkIPQoS takes one or two classes of traffic, as names or numbers.
func checkIPQoS(args []string) error {
	switch {
	case len(args) == 0:
		return errNoArgument
	case len(args) > 2:
		return errors.New("has more arguments than 2")
	}
	names := strings.Fields("af11 af12 af13 af21 af22 af23 af31 af32 af33 af41 af42 af43 cs0 cs1 cs2 cs3 cs4 cs5 cs6 cs7 ef le va lowdelay throughput reliability none")
	for _, arg := range args {
		if n, err := strconv.ParseInt(arg, 0, 64); (err != nil || n < 0 || n > 255) && !slices.Contains(names, strings.ToLower(arg)) {
			return fmt.Errorf("%q is neither a class of traffic nor a number up to 255", arg)
		}
	}
	return nil
}

// checkPermit takes any, none, or hosts with their ports.
func checkPermit(args []string) error {
	if len(args) == 0 {
		return errNoArgument
	}
	for _, arg := range args {
		if slices.Contains([]string{"any", "none"}, strings.ToLower(arg)) {
			if len(args) > 1 {
				return fmt.Errorf("%s stands alone", arg)
			}
			return nil
		}
		host, rest := "", arg
		if strings.HasPrefix(arg, "[") {
			host, rest, _ = strings.Cut(arg, "]")
		}
		more, port, ok := strings.Cut(rest, ":")
		switch _, err := parsePort(port); {
		case !ok || host+more == "[" || strings.Contains(more, "/") || host != "" && more != "":
			return fmt.Errorf("%q is not <host>:<port>", arg)
		case err != nil && port != "*":
			return err
		}
	}
	return nil
}

func checkSendEnv(args []string) error {
	for _, arg := range args {
		if arg == "" || strings.Contains(arg, "=") {
			return fmt.Errorf("%q is not the name of a variable; SetEnv takes values", arg)
		}
	}
	return nil
}

func checkSetEnv(args []string) error {
	for _, arg := range args {
		if !strings.Contains(arg, "=") {
			return errors.New("an argument is not <name>=<value>")
		}
	}
	return nil
}

// parseTunnelDevice reads <local>[:<remote>], each a number or any.
func parseTunnelDevice(s string) (string, error) {
	for side := range strings.SplitSeq(s, ":") {
		if n, err := parseNumber(side); !strings.EqualFold(side, "any") && (err != nil || n > math.MaxInt32-2) {
			return "", fmt.Errorf("%q is not <local>[:<remote>], each a number or any", s)
		}
	}
	if strings.Count(s, ":") > 1 {
		return "", fmt.Errorf("%q has more colons than one", s)
	}
	return s, nil
}
