package sshtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/websocket"
)

// web_handlers.go is what the private web server serves.

// maxSize bounds /size and /stream, so that a typing mistake is not a flood.
const maxSize = 64 << 30

// Headers is what /headers answers.
type Headers struct {
	Proto      string      `json:"proto"`
	Method     string      `json:"method"`
	URI        string      `json:"uri"`
	Host       string      `json:"host"`
	RemoteAddr string      `json:"remote_addr"`
	ServerName string      `json:"server_name,omitempty"` // TLS
	Headers    http.Header `json:"headers"`
	Trailers   http.Header `json:"trailers,omitempty"`
}

// WebHandler returns the handler of a Web:
//
//	/hello       "hello from <name>"
//	/size/N      N bytes (see Body) with a Content-Length
//	/stream/N    N bytes without; ?close delimits them by the connection's end
//	/slow        50 bytes, one each 100 ms
//	/echo        the request's body as it comes, both ways at once
//	/sum         the length and the SHA-256 of the request's body, as JSON
//	/reject      403 at once, the request's body unread
//	/status/N    that status
//	/sse         server-sent events until the client leaves; ?n=N ends them
//	/ws          a WebSocket that sends back each message
//	/trailers    the request's body, then trailers: X-Sum is its SHA-256, and
//	             those of the request with "X-Echo-" before their names
//	/headers     the request as Headers, in JSON
//	/hang        nothing, until the client leaves
//
// /size and /stream take ?chunk=BYTES&every=DURATION to send slowly, and /sse
// takes ?every=DURATION.
func WebHandler(name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = fmt.Fprintf(w, "hello from %s\n", name)
	})
	mux.HandleFunc("/size/{n}", serveBytes)
	mux.HandleFunc("/stream/{n}", serveBytes)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		drip(w, r, 50, 1, 100*time.Millisecond)
	})
	mux.HandleFunc("/echo", serveEcho)
	mux.HandleFunc("/sum", serveSum)
	mux.HandleFunc("/reject", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "rejected", http.StatusForbidden)
	})
	mux.HandleFunc("/status/{n}", func(w http.ResponseWriter, r *http.Request) {
		if n, err := strconv.Atoi(r.PathValue("n")); err == nil && n >= 200 && n < 600 {
			w.WriteHeader(n)
			return
		}
		http.Error(w, "a status is 200 to 599", http.StatusBadRequest)
	})
	mux.HandleFunc("/sse", serveEvents)
	// A Server, unlike a Handler, does not ask for an Origin.
	mux.Handle("/ws", websocket.Server{Handler: serveWebSocket})
	mux.HandleFunc("/trailers", serveTrailers)
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // trailers come after it
		h := Headers{
			Proto: r.Proto, Method: r.Method, URI: r.RequestURI, Host: r.Host,
			RemoteAddr: r.RemoteAddr, Headers: r.Header, Trailers: r.Trailer,
		}
		if r.TLS != nil {
			h.ServerName = r.TLS.ServerName
		}
		writeJSON(w, h)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // the server notices leaving only after it
		<-r.Context().Done()
	})
	return mux
}

// Body is the endless body of which /size and /stream send the first bytes.
// It repeats at no power of two, so that a piece lost or doubled shows.
func Body() io.Reader { return new(body) }

type body struct{ at int }

const bodyLine = "the quick brown fox jumps over the lazy dog and on\n" // 51 bytes

// bodyLines has many, since one at a time is slow under the race detector.
var bodyLines = strings.Repeat(bodyLine, 1000)

func (b *body) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		copied := copy(p[n:], bodyLines[b.at:])
		n += copied
		b.at = (b.at + copied) % len(bodyLines)
	}
	return len(p), nil
}

// serveBytes is /size and /stream.
func serveBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
	if err != nil || n < 0 || n > maxSize {
		http.Error(w, fmt.Sprintf("a size is 0 to %d", int64(maxSize)), http.StatusBadRequest)
		return
	}
	query := r.URL.Query()
	every, _ := time.ParseDuration(query.Get("every"))
	chunk, _ := strconv.ParseInt(query.Get("chunk"), 10, 64)
	if chunk <= 0 {
		chunk = 32 << 10
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Path[:len("/size")] == "/size" {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	} else if query.Has("close") && r.ProtoMajor == 1 {
		w.Header().Set("Transfer-Encoding", "identity")
	}
	drip(w, r, n, chunk, every)
}

// drip sends n bytes in chunks, with a pause before each but the first.
func drip(w http.ResponseWriter, r *http.Request, n, chunk int64, every time.Duration) {
	flush := http.NewResponseController(w).Flush
	body := Body()
	for sent := int64(0); sent < n; sent += chunk {
		if every > 0 && sent > 0 {
			select {
			case <-time.After(every):
			case <-r.Context().Done():
				return
			}
		}
		if _, err := io.CopyN(w, body, min(chunk, n-sent)); err != nil {
			return
		}
		// A stream of one chunk is flushed too, or the server would give it a
		// Content-Length.
		_ = flush()
	}
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 always is
	w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
	if r.Header.Get("Expect") == "" {
		// The client may wait for our header before it sends. One that expects
		// a 100 gets it with the first read, which a header would preclude.
		_ = control.Flush()
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = control.Flush()
		}
		if err != nil {
			abortUnless(err)
			return
		}
	}
}

// abortUnless cuts the response if the request's body did not end properly: to
// end the response properly would say that it had.
func abortUnless(err error) {
	if err != io.EOF {
		panic(http.ErrAbortHandler)
	}
}

// Sum is what /sum answers.
type Sum struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func serveSum(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	n, err := io.Copy(hash, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	writeJSON(w, Sum{Bytes: n, SHA256: hex.EncodeToString(hash.Sum(nil))})
}

func serveTrailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Sum")
	w.WriteHeader(http.StatusOK)
	hash := sha256.New()
	_ = http.NewResponseController(w).EnableFullDuplex()
	if _, err := io.Copy(io.MultiWriter(w, hash), r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Sum", hex.EncodeToString(hash.Sum(nil)))
	for name, values := range r.Trailer {
		w.Header()[http.TrailerPrefix+"X-Echo-"+name] = values
	}
}

func serveEvents(w http.ResponseWriter, r *http.Request) {
	every, err := time.ParseDuration(r.URL.Query().Get("every"))
	if err != nil || every <= 0 {
		every = 50 * time.Millisecond
	}
	last, _ := strconv.Atoi(r.URL.Query().Get("n"))
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for i := 1; ; i++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		if i == last {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

func serveWebSocket(ws *websocket.Conn) {
	// The http.Server has let go of the connection, so its Close won't end it.
	stop := context.AfterFunc(ws.Request().Context(), func() { _ = ws.Close() })
	defer stop()
	for {
		var message []byte
		if err := websocket.Message.Receive(ws, &message); err != nil {
			return
		}
		var err error
		if utf8.Valid(message) {
			err = websocket.Message.Send(ws, string(message)) // a text frame
		} else {
			err = websocket.Message.Send(ws, message)
		}
		if err != nil {
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
