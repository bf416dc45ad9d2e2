package caddytest

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// Recorder is an HTTP proxy that keeps what it is asked for, as it is written, and
// answers by itself.
type Recorder struct {
	*CountingListener
	mu    sync.Mutex
	asked []string // request line and Host
}

// NewRecorder starts a proxy that records.
func NewRecorder(t *testing.T) *Recorder {
	t.Helper()
	r := &Recorder{CountingListener: ListenAndCount(t)}
	// Returns when the test ends. Who serves a connection returns when Caddy closes
	// it.
	go func() {
		for {
			select {
			case conn := <-r.Conns:
				go r.serve(conn)
			case <-t.Context().Done():
				return
			}
		}
	}()
	return r
}

func (r *Recorder) serve(conn net.Conn) {
	defer conn.Close()
	from := bufio.NewReader(conn)
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return
		}
		for host := ""; ; {
			field, err := from.ReadString('\n')
			if err != nil {
				return
			}
			if name, value, _ := strings.Cut(field, ":"); strings.EqualFold(name, "Host") {
				host += "|" + strings.TrimSpace(value)
			}
			if field == "\r\n" {
				r.mu.Lock()
				r.asked = append(r.asked, strings.TrimSpace(line)+host)
				r.mu.Unlock()
				break
			}
		}
		_, _ = fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	}
}

// Took returns what it was asked for, and forgets it.
func (r *Recorder) Took() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	return asked
}
