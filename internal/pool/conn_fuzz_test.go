package pool

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// FuzzConn runs sequences of what can be done to a channel whose other end
// echoes, two bytes each: what, and how much of it. What comes back is what was
// written, in order; after the end of writing all of it and io.EOF; after a Close
// nothing.
func FuzzConn(f *testing.F) {
	for _, s := range []string{"wdrdrz", "w\xffw\xffw\xffr\xffr\xffr\xff", "wde0r\xff", "e0r1", "wdc0rdwd", "t0rdT0rdwdrd", "w\xffd1w\xffD1rd", "c0c0e0", "w\x00r\x00e0e0"} {
		f.Add([]byte(s))
	}
	addr := listen(f, echo)
	b := newBench(f, quick(), nil)
	f.Fuzz(func(t *testing.T, ops []byte) {
		c := mustDial(t, b.Pool, addr)
		defer c.Close()
		within(t, time.Minute, "a sequence", func() { runConn(t, c, ops[:min(len(ops), 64)]) })
	})
}

func runConn(t *testing.T, c *Conn, ops []byte) {
	var sent []byte // and not come back yet
	var next byte   // what is written goes on with
	ended, closed, lateRead, lateWrite := false, false, false, false
	for i := 0; i+1 < len(ops); i += 2 {
		n := int(ops[i+1])
		switch ops[i] {
		case 'w':
			data := make([]byte, n*97)
			for j := range data {
				data[j] = next
				next++
			}
			m, err := c.Write(data)
			sent = append(sent, data[:m]...)
			next -= byte(len(data) - m)
			switch {
			case closed && !errors.Is(err, net.ErrClosed):
				t.Errorf("a write to a closed channel: %v", err)
			case !closed && !ended && !lateWrite && len(data) > 0 && err != nil:
				t.Errorf("a write: %v", err)
			case !closed && !ended && lateWrite && len(data) > 0 && !errors.Is(err, os.ErrDeadlineExceeded):
				t.Errorf("a late write: %v", err)
			case ended && m > 0:
				t.Errorf("%d bytes written after the end", m)
			}
		case 'r':
			if !closed && !lateRead && !ended && len(sent) == 0 {
				continue // there is nothing to read: it would wait
			}
			p := make([]byte, n*97+1)
			m, err := c.Read(p)
			if m > len(sent) || !bytes.Equal(p[:m], sent[:min(m, len(sent))]) {
				t.Errorf("%d bytes that are not those that were sent", m)
				return
			}
			sent = sent[m:]
			switch {
			case closed:
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("a read from a closed channel: %d, %v", m, err)
				}
			case lateRead:
				if m > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("a late read: %d, %v", m, err)
				}
			case errors.Is(err, io.EOF):
				if !ended || len(sent) > 0 {
					t.Errorf("the end with %d bytes to come", len(sent))
				}
			case err != nil || m == 0:
				t.Errorf("a read: %d, %v", m, err)
			}
		case 'e':
			ended = true
			_ = c.CloseWrite()
		case 'c':
			closed = true
			_ = c.Close()
		case 't':
			lateRead = true
			_ = c.SetReadDeadline(time.Now().Add(-time.Second))
		case 'T':
			lateRead = false
			_ = c.SetReadDeadline(time.Time{})
		case 'd':
			lateWrite = true
			_ = c.SetWriteDeadline(time.Now().Add(-time.Second))
		case 'D':
			lateWrite = false
			_ = c.SetWriteDeadline(time.Time{})
		}
	}
}
