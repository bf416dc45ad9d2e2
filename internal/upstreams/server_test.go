package upstreams

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// server is a DNS server over TCP, and counts what it is asked over UDP.
type server struct {
	*net.TCPListener
	t *testing.T

	mu      sync.Mutex
	records map[string][]dnsmessage.ResourceBody // by name and type
	asked   []string                             // names and types

	// edit changes an answer before it is sent, or returns nil to send none. Default:
	// nothing is changed.
	edit func(answer *dnsmessage.Message) []byte
}

// newServer starts a DNS server that runs until the test ends.
func newServer(t *testing.T) *server {
	t.Helper()
	ln, err := net.ListenTCP("tcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{TCPListener: ln, t: t, records: make(map[string][]dnsmessage.ResourceBody)}
	var serving sync.WaitGroup
	serving.Go(func() { // returns when the listener is closed
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.serve(conn) }) // returns when its client closes
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return s
}

// a and srv return records.
func a(address string) dnsmessage.ResourceBody {
	addr := netip.MustParseAddr(address)
	if addr.Is4() {
		return &dnsmessage.AResource{A: addr.As4()}
	}
	return &dnsmessage.AAAAResource{AAAA: addr.As16()}
}

func srv(target string, port, priority, weight uint16) dnsmessage.ResourceBody {
	return &dnsmessage.SRVResource{Priority: priority, Weight: weight, Port: port, Target: dnsmessage.MustNewName(target)}
}

// set gives a name records, in place of those that it has.
func (s *server) set(name string, records ...dnsmessage.ResourceBody) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV} {
		s.records[name+" "+typ.String()] = nil
	}
	for _, r := range records {
		key := name + " " + typeOf(r).String()
		s.records[key] = append(s.records[key], r)
	}
}

func typeOf(body dnsmessage.ResourceBody) dnsmessage.Type {
	switch body.(type) {
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	case *dnsmessage.CNAMEResource:
		return dnsmessage.TypeCNAME
	default:
		return dnsmessage.TypeSRV
	}
}

// took returns what it was asked, and forgets it.
func (s *server) took() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	for {
		length := make([]byte, 2)
		if _, err := io.ReadFull(conn, length); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		var m dnsmessage.Message
		if err := m.Unpack(query); err != nil || len(m.Questions) != 1 || !m.RecursionDesired {
			s.t.Errorf("a query that is none: %v, %+v", err, m)
			return
		}
		answer := s.answer(m)
		if answer == nil {
			continue
		}
		if _, err := conn.Write(binary.BigEndian.AppendUint16(nil, uint16(len(answer)))); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// answer returns the answer to a query.
func (s *server) answer(m dnsmessage.Message) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := m.Questions[0]
	name := strings.ToLower(q.Name.String())
	s.asked = append(s.asked, name+" "+strings.TrimPrefix(q.Type.String(), "Type"))
	m.Response, m.RecursionAvailable = true, true
	records, known := s.records[name+" "+q.Type.String()]
	if !known {
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, body := range records {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: typeOf(body), Class: dnsmessage.ClassINET, TTL: 1}, Body: body,
		})
	}
	if s.edit != nil {
		return s.edit(&m)
	}
	return pack(s.t, &m)
}

func pack(t *testing.T, m *dnsmessage.Message) []byte {
	packed, err := m.Pack()
	if err != nil {
		t.Error(err)
	}
	return packed
}
