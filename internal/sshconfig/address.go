package sshconfig

// address.go reads addresses, and compares those of this machine.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseAddr reads an IP address in all forms that ssh takes: of IPv4 those of inet_aton(3)
// as well, such as 127.1 and 0x7f000001.
func parseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err == nil {
		return addr, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, err
	}
	var value uint64
	for i, part := range parts {
		bits, shift := 8, 8*(3-i)
		if i == len(parts)-1 { // it has all bits that are left
			bits, shift = 8*(4-i), 0
		}
		digits, base := part, 10
		if hex, ok := strings.CutPrefix(strings.ToLower(part), "0x"); ok {
			digits, base = hex, 16
		} else if len(part) > 1 && part[0] == '0' {
			base = 8
		}
		n, parseErr := strconv.ParseUint(digits, base, bits)
		if parseErr != nil {
			return netip.Addr{}, err
		}
		value |= n << shift
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint64(nil, value)[4:])), nil
}

// parseNetworks reads the networks of a Match localnetwork, separated by commas.
func parseNetworks(list string) (networks []netip.Prefix, err error) {
	for s := range strings.SplitSeq(list, ",") {
		written, length, hasLength := strings.Cut(s, "/")
		addr, err := parseAddr(written)
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("%q is not a network such as 192.0.2.0/24", s)
		}
		bits := addr.BitLen()
		if hasLength {
			if bits, err = strconv.Atoi(length); err != nil {
				return nil, fmt.Errorf("%q is not a network such as 192.0.2.0/24", s)
			}
		}
		network, err := addr.Prefix(bits)
		if err != nil || network.Addr() != addr {
			return nil, fmt.Errorf("%q has bits set behind those of its length, or fewer than that", s)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// inNetworks reports whether one of this machine's addresses is in one of the networks.
// As for ssh, those that are only valid on one link are in none.
func inNetworks(networks []netip.Prefix) (bool, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return false, err
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			return false, errors.Unwrap(err)
		}
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil || prefix.Addr().Is6() && prefix.Addr().IsLinkLocalUnicast() {
				continue
			}
			if slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(prefix.Addr()) }) {
				return true, nil
			}
		}
	}
	return false, nil
}
