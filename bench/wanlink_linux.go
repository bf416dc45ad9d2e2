package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// wanlink_linux.go is a long link: a TUN device whose packets this process delays and
// loses, as netem would. The kernel's TCP runs over it, with its handshakes, Nagle's
// algorithm, congestion control and retransmits.

var (
	// wanHost is our address on the link. Servers listen on it.
	wanHost = netip.AddrFrom4([4]byte{10, 255, 255, 1})
	// wanPeer is the address by which clients reach them over the link.
	wanPeer = netip.AddrFrom4([4]byte{10, 255, 255, 2})
)

// wanLink is such a link. What is sent to wanPeer arrives at wanHost, as from
// wanPeer: its addresses are swapped, which leaves all checksums as they are.
type wanLink struct {
	tun    *os.File
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// wanWay is one direction of the link.
type wanWay struct {
	profile wanProfile
	random  *rand.Rand
	flying  chan wanPacket
	free    time.Time // when the link has sent what waits for it
}

// wanPacket is an IP packet and when it arrives.
type wanPacket struct {
	data    []byte
	arrival time.Time
}

// missingWAN says what this machine lacks for a wanLink, or "".
func missingWAN() string {
	if os.Geteuid() != 0 {
		return "a TUN device needs root"
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return "there is no /dev/net/tun"
	}
	return ""
}

// startWANLink makes a link whose servers' port is isServer's, until close. There is one at a time.
func startWANLink(profile wanProfile, isServer func(port uint16) bool) (*wanLink, error) {
	tun, err := openTUN("wan0")
	if err != nil {
		return nil, fmt.Errorf("making a link: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &wanLink{tun: tun, cancel: cancel}
	var ways [2]*wanWay // to the servers, and back
	for i := range ways {
		// As many as fly, and then some: small packets fly, too.
		ways[i] = &wanWay{profile: profile, random: rand.New(rand.NewPCG(1, uint64(i))), flying: make(chan wanPacket, 64<<10)} //nolint:gosec // the same losses each time
		l.wg.Go(func() { ways[i].deliver(ctx, tun) })
	}
	l.wg.Go(func() { route(tun, ways, isServer) })
	return l, nil
}

// close ends the link, and returns once it has.
func (l *wanLink) close() {
	l.cancel()
	_ = l.tun.Close()
	l.wg.Wait()
}

// route takes what the kernel sends. It returns when the device is closed.
func route(tun io.Reader, ways [2]*wanWay, isServer func(port uint16) bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := tun.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if port, ok := turnRound(buf[:max(n, 0)]); ok {
			way := ways[1]
			if isServer(port) {
				way = ways[0]
			}
			way.take(time.Now(), append([]byte(nil), buf[:n]...))
		}
	}
}

// turnRound swaps the addresses of a TCP packet to wanPeer, and returns its
// destination port. It is false of any other packet.
func turnRound(packet []byte) (port uint16, ok bool) {
	const protocol, source, destination = 9, 12, 16
	if len(packet) < 20 || packet[0]>>4 != 4 || packet[protocol] != unix.IPPROTO_TCP {
		return 0, false
	}
	from, to := [4]byte(packet[source:destination]), [4]byte(packet[destination:])
	header := int(packet[0]&15) * 4
	if netip.AddrFrom4(to) != wanPeer || len(packet) < header+20 {
		return 0, false
	}
	copy(packet[source:], to[:])
	copy(packet[destination:], from[:])
	return binary.BigEndian.Uint16(packet[header+2:]), true
}

// take sends a packet, unless it is lost or the queue is full.
func (w *wanWay) take(now time.Time, packet []byte) {
	if w.free.Before(now) {
		w.free = now
	}
	if w.random.Float64() < w.profile.loss || w.free.Sub(now) > wanQueue {
		return
	}
	w.free = w.free.Add(time.Duration(float64(len(packet)) / w.profile.bandwidth * float64(time.Second)))
	select {
	case w.flying <- wanPacket{packet, w.free.Add(w.profile.rtt / 2)}:
	default: // lost as well
	}
}

// deliver gives packets to the kernel as they arrive. It returns when the link is
// closed.
func (w *wanWay) deliver(ctx context.Context, tun io.Writer) {
	for {
		select {
		case p := <-w.flying:
			sleepUntil(ctx, p.arrival)
			_, _ = tun.Write(p.data) // what the kernel does not take is lost
		case <-ctx.Done():
			return
		}
	}
}

// openTUN makes a TUN device with the address wanHost.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	device, err := unix.NewIfreq(name)
	if err == nil {
		device.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, device)
	}
	if err == nil {
		err = configure(name)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// configure gives a device its address, and starts it.
func configure(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	device, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	for _, set := range []struct {
		request uint
		value   net.IP
	}{{unix.SIOCSIFADDR, wanHost.AsSlice()}, {unix.SIOCSIFNETMASK, net.IP{255, 255, 255, 252}}} {
		if err := device.SetInet4Addr(set.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.request, device); err != nil {
			return err
		}
	}
	device.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, device)
}
