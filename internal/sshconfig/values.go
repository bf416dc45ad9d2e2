package sshconfig

// values.go reads arguments that are more than words.

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// parseFlag reads yes or no.
func parseFlag(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", s)
}

// parseStrict reads what StrictHostKeyChecking says: yes, no, ask or
// accept-new.
func parseStrict(s string) (string, error) {
	switch s = strings.ToLower(s); s {
	case "yes", "no", "ask", "accept-new":
		return s, nil
	case "true":
		return "yes", nil
	case "false", "off":
		return "no", nil
	}
	return "", fmt.Errorf("%q is none of yes, accept-new, ask, no and off", s)
}

// parseUpdate reads what UpdateHostKeys says: yes, no or ask.
func parseUpdate(s string) (bool, error) {
	if strings.EqualFold(s, "ask") {
		return false, nil
	}
	update, err := parseFlag(s)
	if err != nil {
		err = fmt.Errorf("%q is none of yes, no and ask", s)
	}
	return update, err
}

func parseFamily(s string) (string, error) {
	switch s = strings.ToLower(s); s {
	case "any", "inet", "inet6":
		return s, nil
	}
	return "", fmt.Errorf("%q is none of any, inet and inet6", s)
}

// parsePort reads a port's number, or the name of its service.
func parsePort(s string) (int, error) {
	port, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 10, 16)
	if err != nil {
		var named int
		named, err = net.LookupPort("tcp", s)
		port = uint64(max(named, 0))
	}
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535", s)
	}
	return int(port), nil
}

func parseNumber(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a number from 0 to %d", s, math.MaxInt32)
	}
	return int(n), nil
}

// timeUnits are those of sshd_config(5)'s time formats.
var timeUnits = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

// maxTime is the longest that ssh takes.
const maxTime = math.MaxInt32 * time.Second

// parseTime reads a time such as 90, 90s or 1h30m; none is zero.
func parseTime(s string) (time.Duration, error) {
	if s == "none" {
		return 0, nil
	}
	return parseDuration(s)
}

// parseDuration is parseTime without none.
func parseDuration(s string) (time.Duration, error) {
	invalid := fmt.Errorf("%q is not a time such as 90 or 1m30s", s)
	var total time.Duration
	rest := strings.TrimPrefix(strings.ToLower(s), "+")
	for {
		digits := strings.TrimLeft(rest, "0123456789")
		n, err := strconv.ParseInt(rest[:len(rest)-len(digits)], 10, 32)
		if err != nil {
			return 0, invalid
		}
		unit := time.Second
		if digits != "" {
			if unit = timeUnits[digits[0]]; unit == 0 {
				return 0, invalid
			}
			digits = digits[1:]
		}
		if total += time.Duration(n) * unit; n > int64(maxTime/unit) || total > maxTime {
			return 0, fmt.Errorf("%q is too long", s)
		}
		if rest = digits; rest == "" {
			return total, nil
		}
	}
}

// parseSize reads a size such as 512M or 1.5G; default is zero.
func parseSize(s string) (int64, error) {
	if s == "default" {
		return 0, nil
	}
	number, shift := s, 0
	if s != "" {
		if i := strings.IndexByte("BKMGTPE", strings.ToUpper(s)[len(s)-1]); i >= 0 {
			number, shift = s[:len(s)-1], 10*i
		}
	}
	switch rest := strings.Trim(number, "0123456789."); {
	case number == "+", number == "-":
		return 0, nil // as for ssh
	case rest != "" && (rest != "+" || number[0] != '+'):
		number = "" // ParseFloat would take more than these
	}
	n, err := strconv.ParseFloat(number, 64)
	size := n * float64(int64(1)<<shift)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a size such as 512M or 1G", s)
	case size >= math.MaxInt64:
		return 0, fmt.Errorf("%q is too much", s)
	case 0 < size && size < 16:
		return 0, fmt.Errorf("%q is too little", s)
	}
	return int64(size), nil
}

// checkRekeyLimit checks a size and, where there is one, a time.
func checkRekeyLimit(args []string) error {
	_, err := parseSize(args[0])
	if err == nil && len(args) == 2 {
		_, err = parseTime(args[1])
	}
	return err
}

// isNone reports whether a list is the word none. It may not stand among others.
func isNone(args []string) (bool, error) {
	for _, arg := range args {
		if strings.EqualFold(arg, "none") {
			if len(args) > 1 {
				return false, errors.New("none stands alone")
			}
			return true, nil
		}
	}
	return false, nil
}
