package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // G505: RFC 6455 wants it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// web.go is the private web server. It is this program again, as a process of
// its own, so that what it uses is nobody else's.

// webArgument is the first argument by which this program becomes that server.
const webArgument = "web-server"

// What the streams say: sseHello at first, sseAgain at each POST to /again.
const (
	sseHello = "data: hello\n\n"
	sseAgain = "data: again\n\n"
)

// runWeb serves, having printed its address, until standard input ends: that
// is when the benchmark does.
func runWeb() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Println(listener.Addr()); err != nil {
		return err
	}
	server := &http.Server{Handler: newWeb(), ReadHeaderTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }() // returns when the process ends
	ended := make(chan struct{})
	go func() { // returns when standard input ends
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case err := <-failed:
		return err
	case <-ended:
		return nil
	}
}

// web is what the server serves.
type web struct {
	*http.ServeMux
	chunk    []byte
	received atomic.Int64 // bytes of uploads so far

	// mu guards again.
	mu    sync.Mutex
	again chan struct{} // closed, and replaced, when all streams shall speak
}

func newWeb() *web {
	w := &web{ServeMux: http.NewServeMux(), chunk: make([]byte, 256<<10), again: make(chan struct{})}
	w.HandleFunc("GET /bytes/{count}", w.serveBytes)
	w.HandleFunc("GET /file/{count}", w.serveFile)
	w.HandleFunc("POST /upload", w.serveUpload)
	w.HandleFunc("GET /received", w.serveReceived)
	w.HandleFunc("GET /websocket", serveWebSocket)
	w.HandleFunc("GET /events", w.serveEvents)
	w.HandleFunc("POST /again", w.serveAgain)
	return w
}

// serveBytes answers with as many bytes as the path says.
func (w *web) serveBytes(rw http.ResponseWriter, r *http.Request) {
	count, err := strconv.ParseInt(r.PathValue("count"), 10, 64)
	if err != nil || count < 0 {
		http.Error(rw, "no such number of bytes", http.StatusBadRequest)
		return
	}
	rw.Header().Set("Content-Type", "application/octet-stream")
	rw.Header().Set("Content-Length", strconv.FormatInt(count, 10))
	for count > 0 {
		n, err := rw.Write(w.chunk[:min(count, int64(len(w.chunk)))])
		if err != nil {
			return // the client has left
		}
		count -= int64(n)
	}
}

// serveFile is serveBytes with the header sent by itself, as servers do that
// leave the sending of a file to the kernel.
func (w *web) serveFile(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Length", r.PathValue("count"))
	_ = http.NewResponseController(rw).Flush()
	w.serveBytes(rw, r)
}

// serveUpload takes a body, and answers with its length.
func (w *web) serveUpload(rw http.ResponseWriter, r *http.Request) {
	buf := make([]byte, 256<<10)
	var total int64
	for {
		n, err := r.Body.Read(buf)
		total += int64(n)
		w.received.Add(int64(n))
		if errors.Is(err, io.EOF) {
			_, _ = io.WriteString(rw, strconv.FormatInt(total, 10))
			return
		}
		if err != nil {
			return
		}
	}
}

// serveReceived answers with the bytes of all uploads so far, those that go on
// included.
func (w *web) serveReceived(rw http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(rw, strconv.FormatInt(w.received.Load(), 10))
}

// webSocketAccept is the answer to a handshake's key. RFC 6455, section 4.2.2.
func webSocketAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // G401: RFC 6455 wants it
	return base64.StdEncoding.EncodeToString(sum[:])
}

// serveWebSocket does the handshake, and then gives back what it gets: frames
// are bytes to whom they pass.
func serveWebSocket(rw http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		http.Error(rw, "this is for WebSockets", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		webSocketAccept(r.Header.Get("Sec-WebSocket-Key")))
	if err != nil {
		return
	}
	echo(conn, buffered.Reader)
}

// echo writes what it reads. It returns when either side has ended. It is not
// io.Copy, which would open a pipe for each idle stream.
func echo(conn net.Conn, r *bufio.Reader) {
	buf := make([]byte, 512)
	for {
		n, err := r.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// serveEvents is a stream of server-sent events that says hello, and then
// nothing until a POST to /again.
func (w *web) serveEvents(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(rw).Flush
	text := sseHello
	for {
		// Before the client hears from us: it may ask for more at once.
		again := w.nextAgain()
		if _, err := io.WriteString(rw, text); err != nil || flush() != nil {
			return
		}
		text = sseAgain
		select {
		case <-again:
		case <-r.Context().Done():
			return
		}
	}
}

func (w *web) nextAgain() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.again
}

// serveAgain makes all streams of events speak.
func (w *web) serveAgain(http.ResponseWriter, *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.again)
	w.again = make(chan struct{})
}
