package sshconfig

// algorithms.go puts lists of algorithms together.

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshsyntax"
)

// The names that OpenSSH 9.2 to 10.5 take in an ssh_config(5), whether this
// project supports them or not.
var (
	ciphers = strings.Fields(`
		3des-cbc aes128-cbc aes192-cbc aes256-cbc aes128-ctr aes192-ctr aes256-ctr
		aes128-gcm@openssh.com aes256-gcm@openssh.com chacha20-poly1305@openssh.com`)
	macs = strings.Fields(`
		hmac-sha1 hmac-sha1-96 hmac-sha2-256 hmac-sha2-512 hmac-md5 hmac-md5-96
		umac-64@openssh.com umac-128@openssh.com hmac-sha1-etm@openssh.com
		hmac-sha1-96-etm@openssh.com hmac-sha2-256-etm@openssh.com
		hmac-sha2-512-etm@openssh.com hmac-md5-etm@openssh.com
		hmac-md5-96-etm@openssh.com umac-64-etm@openssh.com umac-128-etm@openssh.com`)
	keyExchanges = strings.Fields(`
		diffie-hellman-group1-sha1 diffie-hellman-group14-sha1
		diffie-hellman-group14-sha256 diffie-hellman-group16-sha512
		diffie-hellman-group18-sha512 diffie-hellman-group-exchange-sha1
		diffie-hellman-group-exchange-sha256 ecdh-sha2-nistp256 ecdh-sha2-nistp384
		ecdh-sha2-nistp521 curve25519-sha256 curve25519-sha256@libssh.org
		sntrup761x25519-sha512 sntrup761x25519-sha512@openssh.com
		mlkem768x25519-sha256 mlkem768nistp256-sha256`)
	gssKeyExchanges = strings.Fields(`
		gss-gex-sha1- gss-group1-sha1- gss-group14-sha1- gss-group14-sha256-
		gss-group16-sha512- gss-nistp256-sha256- gss-curve25519-sha256-`)
	keyTypes = strings.Fields(`
		ssh-ed25519 ssh-ed25519-cert-v01@openssh.com sk-ssh-ed25519@openssh.com
		sk-ssh-ed25519-cert-v01@openssh.com ecdsa-sha2-nistp256
		ecdsa-sha2-nistp256-cert-v01@openssh.com ecdsa-sha2-nistp384
		ecdsa-sha2-nistp384-cert-v01@openssh.com ecdsa-sha2-nistp521
		ecdsa-sha2-nistp521-cert-v01@openssh.com sk-ecdsa-sha2-nistp256@openssh.com
		sk-ecdsa-sha2-nistp256-cert-v01@openssh.com
		webauthn-sk-ecdsa-sha2-nistp256@openssh.com ssh-dss ssh-dss-cert-v01@openssh.com
		webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com
		ssh-rsa ssh-rsa-cert-v01@openssh.com rsa-sha2-256
		rsa-sha2-256-cert-v01@openssh.com rsa-sha2-512 rsa-sha2-512-cert-v01@openssh.com
		ssh-xmss@openssh.com ssh-xmss-cert-v01@openssh.com
		ssh-mldsa44-ed25519@openssh.com ssh-mldsa44-ed25519-cert-v01@openssh.com`)
)

// algorithmList checks for a list of these names.
func algorithmList(names []string) check {
	return one(func(list string) (string, error) {
		return list, checkAlgorithms(list, func(name string) bool { return slices.Contains(names, name) })
	})
}

// parseKeyTypes checks for a list of types of keys, which may have patterns.
func parseKeyTypes(list string) (string, error) {
	return list, checkAlgorithms(list, func(pattern string) bool {
		return slices.ContainsFunc(keyTypes, func(name string) bool { return sshsyntax.Match(pattern, name) })
	})
}

// checkAlgorithms refuses a list with a name that ssh does not know. What is to be
// left out (-) need not exist.
func checkAlgorithms(list string, known func(string) bool) error {
	if strings.HasPrefix(list, "-") {
		return nil
	}
	rest := strings.TrimLeft(list[:1], "+^") + list[1:]
	if rest == "" {
		return fmt.Errorf("%q is an empty list", list)
	}
	for name := range strings.SplitSeq(rest, ",") {
		if name == "" {
			return nil // ssh stops there
		}
		if !known(name) {
			return fmt.Errorf("unknown algorithm %q, which ssh refuses as well; correct it or take it out", name)
		}
	}
	return nil
}

// Algorithms returns the algorithms that a list of ssh_config(5) stands for, in
// order of preference, and those names in it that nobody knows. The list is
// written out, or is added to the default ones (+), put before them (^), or
// taken from them (-). It may have patterns; what is known but broken they do
// not bring in: that takes its full name.
func Algorithms(list string, defaults, broken []string) (names, unknown []string) {
	how := byte(0)
	if list != "" && strings.IndexByte("+-^", list[0]) >= 0 {
		how, list = list[0], list[1:]
	}
	if how == '-' {
		for _, name := range defaults {
			if !matchList(name, list) {
				names = append(names, name)
			}
		}
		return names, nil
	}
	var written []string
	for pattern := range strings.SplitSeq(list, ",") {
		if pattern == "" {
			break // as for ssh
		}
		matching := slices.DeleteFunc(slices.Clone(defaults), func(name string) bool { return !sshsyntax.Match(pattern, name) })
		if slices.Contains(broken, pattern) {
			matching = append(matching, pattern)
		}
		if len(matching) == 0 {
			unknown = append(unknown, pattern)
		}
		written = append(written, matching...)
	}
	switch how {
	case '+':
		written = slices.Concat(defaults, written)
	case '^':
		written = slices.Concat(written, defaults)
	}
	for _, name := range written {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, unknown
}
