package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// transfers.go keeps bulk transfers going, for what is measured beside them.

const (
	// endless is the length of a transfer that nobody waits for: 1 TiB.
	endless = 1 << 40
	// transferChunk is the most that a transfer reads or writes at once.
	transferChunk = 256 << 10
	// transferWait is how long the transfers may take to begin.
	transferWait = 30 * time.Second
)

// direction is where transfers go.
type direction string

const (
	down direction = "down"
	up   direction = "up"
)

// transfers are downloads or uploads that go on until stop.
type transfers struct {
	moved  []atomic.Int64 // bytes of each so far, as its client counts them
	failed chan error     // why the first of them ended, if it did before stop
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startTransfers starts that many through addr, and returns once each has moved
// some bytes. Call stop unless there is an error.
func startTransfers(ctx context.Context, addr string, to direction, count int) (*transfers, error) {
	inner, cancel := context.WithCancel(ctx)
	t := &transfers{moved: make([]atomic.Int64, count), failed: make(chan error, 1), cancel: cancel}
	for i := range count {
		t.wg.Go(func() { // returns at stop, or when the transfer ends
			err := transfer(inner, addr, to, &t.moved[i])
			if inner.Err() != nil {
				return
			}
			select {
			case t.failed <- fmt.Errorf("a transfer %s ended early: %w", to, err):
			default:
			}
		})
	}
	if err := t.begun(ctx); err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// begun waits until each transfer has moved some bytes.
func (t *transfers) begun(ctx context.Context) error {
	for deadline := time.Now().Add(transferWait); ; sleepUntil(ctx, time.Now().Add(2*time.Millisecond)) {
		idle := 0
		for i := range t.moved {
			if t.moved[i].Load() == 0 {
				idle++
			}
		}
		switch err := errors.Join(t.err(), ctx.Err()); {
		case err != nil:
			return err
		case idle == 0:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d of %d transfers moved nothing within %v", idle, len(t.moved), transferWait)
		}
	}
}

// total returns the bytes of all transfers so far.
func (t *transfers) total() int64 {
	var sum int64
	for i := range t.moved {
		sum += t.moved[i].Load()
	}
	return sum
}

// err returns why a transfer has ended, or nil.
func (t *transfers) err() error {
	select {
	case err := <-t.failed:
		t.failed <- err // for whoever asks again
		return err
	default:
		return nil
	}
}

// stop ends the transfers, and returns when they have ended.
func (t *transfers) stop() {
	t.cancel()
	t.wg.Wait()
}

// transfer is one of them. It returns when ctx is done, and otherwise with an
// error, also if the transfer ends.
func transfer(ctx context.Context, addr string, to direction, moved *atomic.Int64) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if to == up {
		return transferUp(conn, addr, moved)
	}
	if _, err := fmt.Fprintf(conn, "GET /bytes/%d HTTP/1.1\r\nHost: %s\r\n\r\n", int64(endless), addr); err != nil {
		return err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	// Past the reader, which copies what it reads.
	return count(conn.Read, moved)
}

// transferUp sends a body, and listens whether the server objects to it.
func transferUp(conn net.Conn, addr string, moved *atomic.Int64) error {
	if _, err := fmt.Fprintf(conn, "POST /upload HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", addr, int64(endless)); err != nil {
		return err
	}
	answer := make(chan error, 1)
	go func() { // returns when the connection ends: at the latest, when transfer returns
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_ = conn.Close()
			_ = response.Body.Close()
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		answer <- err
	}()
	err := count(conn.Write, moved)
	_ = conn.Close()
	return errors.Join(err, <-answer)
}

// count reads or writes chunks, and adds up what they have moved. It returns at
// an error.
func count(move func([]byte) (int, error), moved *atomic.Int64) error {
	chunk := make([]byte, transferChunk)
	for {
		n, err := move(chunk)
		moved.Add(int64(n))
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}
