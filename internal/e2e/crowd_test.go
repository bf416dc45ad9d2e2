//go:build linux

package e2e

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd_test.go has many clients at once, who come and go. Nobody gets an error
// where there would be none with sockets: not one that waits for its turn.

// crowdOf is how many clients a crowd has. The race detector cannot follow more
// than a few thousand goroutines.
func crowdOf() int {
	if raceFlag == "-race=true" {
		return 300
	}
	return 1500
}

// TestCrowdOfRequests has a site's clients make one request after the other, each
// on a connection that it keeps, some with fewer places than clients.
func TestCrowdOfRequests(t *testing.T) {
	for name, options := range map[string][]string{"connections by default": nil, "connections 1": {"connections 1"}} {
		t.Run(name, func(t *testing.T) {
			b := newBastion(t, "")
			c := b.serveSite(patient, options...)
			c.wantServed()
			for range 2 {
				requests := c.startLoad(crowdOf())
				time.Sleep(4 * time.Second)
				requests.finish(t)
			}
		})
	}
}

// TestCrowdOfConnections has clients of a listener wrapper connect, exchange a few
// bytes and leave.
func TestCrowdOfConnections(t *testing.T) {
	b := newBastion(t, "")
	b.serveTCP("127.0.0.1:7", echo)
	c, raw := b.serveRaw("")
	var clients sync.WaitGroup
	var mu sync.Mutex
	var failed []error
	for range crowdOf() {
		clients.Go(func() {
			for range 3 {
				if err := exchangeRaw(raw); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	// A machine that does much at once may take too long to open a channel.
	if late := strings.Count(c.log(), "no answer within 10s"); len(failed) > late {
		t.Errorf("%d clients failed, %d of them after 10 seconds; the first: %v", len(failed), late, failed[0])
	}
}

// exchangeRaw is what a client of a port does.
func exchangeRaw(port int) error {
	conn, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(3 * patience))
	sent := []byte("hello")
	if _, err := conn.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if !slices.Equal(got, sent) {
		return errors.New("other bytes came back: " + string(got))
	}
	return nil
}
