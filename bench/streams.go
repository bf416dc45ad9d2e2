package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// streams.go holds streams open that are idle: WebSockets, or server-sent
// events.

const (
	// streamTimeout is how long a stream may take to open, and to answer.
	streamTimeout = 30 * time.Second
	// streamWorkers is how many are opened, or asked, at a time: less than what
	// would be a stampede, and enough to keep two cores busy.
	streamWorkers = 16
)

// stream is an open stream. It has no goroutine.
type stream struct {
	conn net.Conn
	body io.Reader // what comes after the header
}

// streamKind is what a stream is.
type streamKind struct {
	name   string // in the plural
	path   string
	header func() string // lines of the request's header besides Host
	// opened reads the response to it, and proves that the stream works.
	opened func(*stream, *http.Response, string) error
	// wake makes the streams of a web server speak; they are asked one by one
	// with alive afterwards.
	wake  func(ctx context.Context, web string) error
	alive func(*stream) error
}

// webSockets echo what they get.
var webSockets = streamKind{
	name: "WebSockets",
	path: "/websocket",
	header: func() string {
		key := make([]byte, 16)
		_, _ = rand.Read(key) // never fails
		return "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " +
			base64.StdEncoding.EncodeToString(key) + "\r\n"
	},
	opened: func(s *stream, response *http.Response, header string) error {
		if response.StatusCode != http.StatusSwitchingProtocols {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		_, key, _ := strings.Cut(header, "Sec-WebSocket-Key: ")
		if got, want := response.Header.Get("Sec-WebSocket-Accept"), webSocketAccept(strings.TrimSpace(key)); got != want {
			return fmt.Errorf("the handshake's answer is %q instead of %q", got, want)
		}
		return askWebSocket(s)
	},
	wake:  func(context.Context, string) error { return nil },
	alive: askWebSocket,
}

// askWebSocket sends a frame, and wants it back. It is a masked text of five
// bytes; the server does not look into it.
func askWebSocket(s *stream) error {
	const frame = "\x81\x85\x00\x00\x00\x00hello"
	if _, err := io.WriteString(s.conn, frame); err != nil {
		return err
	}
	return expect(s.body, frame)
}

// serverSentEvents say hello at first, and speak again when the test wakes all.
var serverSentEvents = streamKind{
	name:   "event streams",
	path:   "/events",
	header: func() string { return "Accept: text/event-stream\r\n" },
	opened: func(s *stream, response *http.Response, _ string) error {
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		s.body = response.Body
		return expect(s.body, sseHello)
	},
	wake: func(ctx context.Context, web string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+web+"/again", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	},
	alive: func(s *stream) error { return expect(s.body, sseAgain) },
}

// expect reads a text, and nothing else.
func expect(r io.Reader, want string) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("reading %q, and then: %w", got[:n], err)
	}
	if string(got) != want {
		return fmt.Errorf("%q instead of %q", got, want)
	}
	return nil
}

// openStreams opens that many streams through addr. Close them, also after an
// error.
func openStreams(ctx context.Context, kind streamKind, addr string, count int) ([]*stream, error) {
	streams := make([]*stream, count)
	err := inParallel(count, func(i int) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		streams[i] = &stream{conn: conn}
		return streams[i].open(kind, addr)
	})
	if err != nil {
		return streams, fmt.Errorf("opening %d %s: %w", count, kind.name, err)
	}
	return streams, nil
}

func (s *stream) open(kind streamKind, addr string) error {
	_ = s.conn.SetDeadline(time.Now().Add(streamTimeout))
	header := kind.header()
	if _, err := fmt.Fprintf(s.conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", kind.path, addr, header); err != nil {
		return err
	}
	reader := bufio.NewReader(s.conn)
	response, err := http.ReadResponse(reader, nil) //nolint:bodyclose // it goes on for as long as the stream
	if err != nil {
		return err
	}
	s.body = reader
	return kind.opened(s, response, header)
}

// checkStreams asks all streams whether they are still alive.
func checkStreams(ctx context.Context, kind streamKind, web string, streams []*stream) error {
	err := kind.wake(ctx, web)
	if err == nil {
		err = inParallel(len(streams), func(i int) error {
			_ = streams[i].conn.SetDeadline(time.Now().Add(streamTimeout))
			return kind.alive(streams[i])
		})
	}
	if err != nil {
		return fmt.Errorf("asking %d idle %s whether they are alive: %w", len(streams), kind.name, err)
	}
	return nil
}

// closeStreams closes those that are open.
func closeStreams(streams []*stream) {
	for _, s := range streams {
		if s != nil {
			_ = s.conn.Close()
		}
	}
}

// inParallel calls do with 0 to count-1, streamWorkers at a time, until one
// fails, and returns that error.
func inParallel(count int, do func(int) error) error {
	next := make(chan int, count)
	for i := range count {
		next <- i
	}
	close(next)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	for range min(count, streamWorkers) {
		wg.Go(func() { // returns when none is left, or one has failed
			for i := range next {
				if len(failed) > 0 {
					return
				}
				if err := do(i); err != nil {
					select {
					case failed <- err:
					default:
					}
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
