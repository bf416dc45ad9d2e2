package forward

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/dialtimeout"
)

const (
	// socksTimeout bounds what a client says before it is connected.
	socksTimeout = 10 * time.Second

	// socksDialTimeout bounds the dial after that.
	socksDialTimeout = defaultDialTimeout
)

// SOCKS5 is the server's side of SOCKS version 5 (RFC 1928): a client says
// where it wants to be connected to. Of the commands there is CONNECT.
type SOCKS5 struct {
	// Dial connects to the address, "host:port", that the client has asked for.
	// Names are as the client wrote them. Required.
	Dial func(ctx context.Context, client net.Conn, address string) (net.Conn, error)

	// Users are the passwords by user (RFC 1929). Default: a client need not
	// say who it is.
	Users map[string]string
}

// DialTimeout is what a Forwarder needs for Connect, which has bounds of its
// own.
func (*SOCKS5) DialTimeout() time.Duration { return socksTimeout + socksDialTimeout + time.Second }

// Connect hears a client out and connects it to where it wants. It is made to
// be a Forwarder's Dial; its errors are *ToldError.
func (s *SOCKS5) Connect(ctx context.Context, client net.Conn) (net.Conn, error) {
	target, err := s.connect(ctx, client)
	if err != nil {
		return nil, &ToldError{err}
	}
	return target, nil
}

func (s *SOCKS5) connect(ctx context.Context, client net.Conn) (net.Conn, error) {
	if err := client.SetDeadline(time.Now().Add(socksTimeout)); err != nil {
		return nil, err
	}
	if err := s.greet(client); err != nil {
		return nil, fmt.Errorf("SOCKS greeting: %w", err)
	}
	address, err := readSOCKSRequest(client)
	if err != nil {
		if refusal, ok := errors.AsType[*socksError](err); ok {
			_ = replySOCKS(client, refusal.code)
		}
		return nil, fmt.Errorf("SOCKS request: %w", err)
	}

	ctx, cancel := dialtimeout.With(ctx, socksDialTimeout, fmt.Errorf("no answer within %s", socksDialTimeout))
	defer cancel()
	target, err := s.Dial(ctx, client, address)
	if deadlineErr := client.SetDeadline(time.Now().Add(socksTimeout)); err == nil && deadlineErr != nil {
		err = deadlineErr
	}
	if err != nil {
		_ = replySOCKS(client, socksCode(err)) // the dial's error says more
		return nil, closing(target, err)
	}
	if err := replySOCKS(client, socksSucceeded); err != nil {
		return nil, closing(target, fmt.Errorf("SOCKS reply: %w", err))
	}
	if err := client.SetDeadline(time.Time{}); err != nil {
		return nil, closing(target, err)
	}
	return target, nil
}

// closing closes a connection, if there is one, because of err.
func closing(conn net.Conn, err error) error {
	if conn != nil {
		reset(conn)
	}
	return err
}

// Versions, methods and statuses on the wire.
const (
	socks5Version = 5
	socks4Version = 4

	socksNoAuth       = 0
	socksUserPassword = 2
	socksNoMethod     = 0xff

	socksAuthVersion = 1
	socksAuthSuccess = 0
	socksAuthFailure = 1
)

// greet agrees on how the client says who it is, and reads that.
func (s *SOCKS5) greet(client net.Conn) error {
	version, err := readByte(client)
	switch {
	case err != nil:
		return err
	case version == socks4Version:
		_, _ = client.Write([]byte{0, 0x5b, 0, 0, 0, 0, 0, 0}) // rejected, in its words
		return errors.New("the client speaks version 4; use version 5, which is socks5h:// in many programs")
	case version != socks5Version:
		return fmt.Errorf("the client speaks something else: its first byte is %#02x", version)
	}
	methods, err := readShort(client)
	if err != nil {
		return err
	}
	method := byte(socksNoAuth)
	if len(s.Users) > 0 {
		method = socksUserPassword
	}
	for _, offered := range methods {
		if offered == method {
			if _, err := client.Write([]byte{socks5Version, method}); err != nil || method == socksNoAuth {
				return err
			}
			return s.authenticate(client)
		}
	}
	_, _ = client.Write([]byte{socks5Version, socksNoMethod})
	if method == socksUserPassword {
		return errors.New("the client offers no user and password")
	}
	return errors.New("the client insists on authenticating; no user is configured")
}

// authenticate checks the client's user and password.
func (s *SOCKS5) authenticate(client net.Conn) error {
	version, err := readByte(client)
	if err != nil {
		return err
	}
	if version != socksAuthVersion {
		return fmt.Errorf("version %d of authentication is not known", version)
	}
	user, err := readShort(client)
	if err != nil {
		return err
	}
	password, err := readShort(client)
	if err != nil {
		return err
	}
	if !s.knows(user, password) {
		_, _ = client.Write([]byte{socksAuthVersion, socksAuthFailure})
		return errors.New("wrong user or password")
	}
	_, err = client.Write([]byte{socksAuthVersion, socksAuthSuccess})
	return err
}

// knows compares with every user, and with all of each, so that the time it
// takes says nothing of them.
func (s *SOCKS5) knows(user, password []byte) bool {
	gotUser, gotPassword := sha256.Sum256(user), sha256.Sum256(password)
	found := 0
	for name, secret := range s.Users {
		wantUser, wantPassword := sha256.Sum256([]byte(name)), sha256.Sum256([]byte(secret))
		found |= subtle.ConstantTimeCompare(gotUser[:], wantUser[:]) & subtle.ConstantTimeCompare(gotPassword[:], wantPassword[:])
	}
	return found == 1
}

const (
	socksConnect = 1

	socksIPv4   = 1
	socksDomain = 3
	socksIPv6   = 4
)

// readSOCKSRequest reads where the client wants to be connected to. What is
// not supported is a *socksError.
func readSOCKSRequest(client net.Conn) (address string, err error) {
	var head [4]byte // version, command, reserved, type of address
	if _, err := io.ReadFull(client, head[:]); err != nil {
		return "", err
	}
	if head[0] != socks5Version {
		return "", &socksError{socksFailure, fmt.Sprintf("its version is %d", head[0])}
	}
	if head[1] != socksConnect {
		return "", &socksError{socksBadCommand, fmt.Sprintf("command %d is not supported; only CONNECT is", head[1])}
	}

	var host string
	switch head[3] {
	case socksIPv4:
		var ip [4]byte
		_, err = io.ReadFull(client, ip[:])
		host = netip.AddrFrom4(ip).String()
	case socksIPv6:
		var ip [16]byte
		_, err = io.ReadFull(client, ip[:])
		host = netip.AddrFrom16(ip).Unmap().String()
	case socksDomain:
		var name []byte
		name, err = readShort(client)
		host = string(name)
	default:
		return "", &socksError{socksBadAddress, fmt.Sprintf("type of address %d is not supported", head[3])}
	}
	if err != nil {
		return "", err
	}
	var port [2]byte
	if _, err := io.ReadFull(client, port[:]); err != nil {
		return "", err
	}
	if !validHost(host) {
		return "", &socksError{socksFailure, fmt.Sprintf("%q is not a host", host)}
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))), nil
}

// validHost refuses what can be neither a name nor an address. What can is for
// the bastion to resolve.
func validHost(host string) bool {
	for _, c := range []byte(host) {
		if c <= ' ' || c == 0x7f || c == '[' || c == ']' {
			return false
		}
	}
	return host != ""
}

func readByte(r io.Reader) (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// readShort reads a byte's worth of bytes, preceded by their number.
func readShort(r io.Reader) ([]byte, error) {
	n, err := readByte(r)
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}
