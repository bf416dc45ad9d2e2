//go:build !linux

package main

import (
	"errors"
	"net/netip"
)

var wanHost, wanPeer netip.Addr

// wanLink is a long link, which is Linux's only.
type wanLink struct{}

// missingWAN says what this machine lacks for a wanLink.
func missingWAN() string { return "TUN devices are Linux's" }

func startWANLink(wanProfile, func(port uint16) bool) (*wanLink, error) {
	return nil, errors.New(missingWAN())
}

func (*wanLink) close() {}
