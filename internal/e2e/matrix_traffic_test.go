//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/websocket"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// matrix_traffic_test.go is what goes through the tunnels: kinds of traffic, each
// of which knows whether what it got is whole and right.

const (
	// pace is the pause between two pieces of an operation.
	pace = 20 * time.Millisecond
	// piece is how long one is, in bytes: three operations are within 64 KiB/s.
	piece = 300
)

// traffic is a kind of it.
type traffic struct {
	name string
	// do is one operation. It returns nil if all is whole and right.
	do func(r *rig, o *operation) error
	// raw is set if nothing but the connection's end is the end: where the target
	// ends it early, that is as proper an end as any.
	raw bool
}

// kinds of traffic, in the order of the report.
var trafficKinds = []*traffic{
	{name: "small requests", do: (*rig).small},
	{name: "download", do: (*rig).download},
	{name: "download, no framing", do: (*rig).downloadUnframed, raw: true},
	{name: "upload", do: (*rig).upload},
	{name: "WebSocket", do: (*rig).webSocket},
	{name: "gRPC stream", do: (*rig).grpcStream},
	{name: "local_forward", do: (*rig).localForward, raw: true},
	{name: "SNI passthrough", do: (*rig).passthrough, raw: true}, // Go takes a FIN for the end of TLS, too
	{name: "dynamic_forward", do: (*rig).dynamicForward, raw: true},
	{name: "remote_forward", do: (*rig).remoteForward},
	{name: "bind", do: (*rig).bind},
	{name: "proxy_jump", do: (*rig).jump},
}

// operation is one use that a client makes of the tunnel.
type operation struct {
	id    uint64        // what it sends is noise of this seed
	lasts time.Duration // at least; 0 is as short as can be
	start time.Time
	moved atomic.Bool // something has come back already
	took  time.Duration
	err   error
}

// wrongError is what must never happen: bytes that are not those that were sent,
// or an end that is none.
type wrongError struct {
	what  string
	short bool // what came was right, but not all
}

func (e *wrongError) Error() string { return e.what }

func wrong(format string, args ...any) error { return &wrongError{what: fmt.Sprintf(format, args...)} }

func short(format string, args ...any) error { return &wrongError{fmt.Sprintf(format, args...), true} }

// outcome is how an operation ended.
type outcome int

const (
	whole   outcome = iota // all of it, and right
	failed                 // the client got an error
	cut                    // not all, and the client got no error
	corrupt                // something else
	hung
)

func (o *operation) outcome() outcome {
	switch {
	case o.err == nil:
		return whole
	case isShort(o.err):
		return cut
	case isWrong(o.err):
		return corrupt
	case o.took >= bound || isTimeoutError(o.err) && o.took >= bound-time.Second:
		return hung
	}
	return failed
}

func isWrong(err error) bool {
	_, ok := errors.AsType[*wrongError](err)
	return ok
}

func isShort(err error) bool {
	e, ok := errors.AsType[*wrongError](err)
	return ok && e.short
}

func isTimeoutError(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// operations numbers them.
var operations atomic.Uint64

// operate runs an operation of a kind that lasts so long.
func (r *rig) operate(k *traffic, o *operation) {
	o.id, o.start = operations.Add(1), time.Now()
	o.err = k.do(r, o)
	o.took = time.Since(o.start)
}

// goesOn reports whether the operation has not lasted long enough, after a pause
// if so.
func (o *operation) goesOn() bool {
	o.moved.Store(true)
	if time.Since(o.start) >= o.lasts {
		return false
	}
	time.Sleep(pace)
	return true
}

func (o *operation) noise() io.Reader {
	var seed [32]byte
	copy(seed[:], fmt.Sprint(o.id))
	return rand.NewChaCha8(seed)
}

func (o *operation) deadline() time.Time { return o.start.Add(o.lasts + bound) }

// context ends at the deadline.
func (o *operation) context() (context.Context, context.CancelFunc) {
	return context.WithDeadline(context.Background(), o.deadline())
}

// exchange sends noise and wants it back, as long as the operation goes on.
func (o *operation) exchange(rw io.ReadWriter) error {
	noise := o.noise()
	sent, got := make([]byte, piece), make([]byte, piece)
	for {
		_, _ = noise.Read(sent)
		if _, err := rw.Write(sent); err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		n, err := io.ReadFull(rw, got)
		if !bytes.Equal(got[:n], sent[:n]) {
			return wrong("other bytes came back")
		}
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		if !o.goesOn() {
			return nil
		}
	}
}

// request makes a request through a connection of its own, unless a client is
// given. Any answer but a 200 is an error; one that blames the client is wrong.
func (r *rig) request(ctx context.Context, client *http.Client, method, url string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if response.StatusCode < 500 {
		return nil, wrong("status %d", response.StatusCode)
	}
	return nil, statusError(response.StatusCode)
}

// statusError is an answer that says that there is none.
type statusError int

func (e statusError) Error() string { return fmt.Sprint(int(e)) }

// newClient returns one with its own connections, which are closed by done,
// whatever the transport thinks of them.
func newClient() (client *http.Client, done func()) {
	var mu sync.Mutex
	var conns []net.Conn
	t := &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
			return conn, nil
		},
	}
	return &http.Client{Transport: t}, func() {
		t.CloseIdleConnections()
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// small makes requests one after the other. It goes on after one that failed,
// and returns the first such error.
func (r *rig) small(o *operation) (first error) {
	client, done := newClient()
	defer done()
	for {
		err := r.hello(o, client)
		if isWrong(err) {
			return err
		}
		first = cmpOr(first, err)
		if !o.goesOn() {
			return first
		}
	}
}

func cmpOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (r *rig) hello(o *operation, client *http.Client) error {
	ctx, cancel := o.context()
	defer cancel()
	response, err := r.request(ctx, client, http.MethodGet, r.url("/hello"), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && string(body) != "hello from web\n" {
		return wrong("a page of %d other bytes", len(body))
	}
	return err
}

// download gets a slow body whose length is not said beforehand.
func (r *rig) download(o *operation) error { return r.fetch(o, r.url(""), "") }

// downloadUnframed gets one from a server that marks the end by closing the
// connection: Caddy knows of a cut only what the tunnel tells it.
func (r *rig) downloadUnframed(o *operation) error { return r.fetch(o, r.url(""), "&close") }

// bind is a visitor's download from a site that the bastion listens for.
func (r *rig) bind(o *operation) error { return r.fetch(o, "http://"+r.b.outside(anyPort), "") }

// jump is a download through one bastion behind another.
func (r *rig) jump(o *operation) error { return r.fetch(o, "http://"+local(r.jumpPort), "") }

func (r *rig) fetch(o *operation, site, how string) error {
	ctx, cancel := o.context()
	defer cancel()
	client, done := newClient()
	defer done()
	n := int64(piece) * int64(1+o.lasts/pace)
	response, err := r.request(ctx, client, http.MethodGet, fmt.Sprintf("%s/stream/%d?chunk=%d&every=%v%s", site, n, piece, pace, how), nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body := sshtest.Body()
	got, want, total := make([]byte, piece), make([]byte, piece), int64(0)
	for {
		k, err := response.Body.Read(got)
		_, _ = io.ReadFull(body, want[:k])
		if !bytes.Equal(got[:k], want[:k]) {
			return wrong("other bytes after %d", total)
		}
		total += int64(k)
		o.moved.Store(true)
		if err == io.EOF && total != n {
			return short("%d of %d bytes, and a proper end", total, n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the body: %w", err)
		}
	}
}

// paced is a body that comes slowly.
type paced struct {
	o   *operation
	r   io.Reader
	end bool
}

func (p *paced) Read(b []byte) (int, error) {
	if p.end {
		return 0, io.EOF
	}
	n, err := p.r.Read(b[:min(len(b), piece)])
	p.end = !p.o.goesOn()
	return n, err
}

// upload sends a slow body, and has its checksum come back.
func (r *rig) upload(o *operation) error {
	ctx, cancel := o.context()
	defer cancel()
	client, done := newClient()
	defer done()
	sum := sha256.New()
	sent := &counter{w: sum}
	response, err := r.request(ctx, client, http.MethodPost, r.url("/sum"), io.TeeReader(&paced{o: o, r: o.noise()}, sent))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var got sshtest.Sum
	if err := json.Unmarshal(all, &got); err != nil {
		return wrong("an answer of %d bytes that is none", len(all))
	}
	if want := (sshtest.Sum{Bytes: sent.n.Load(), SHA256: hex.EncodeToString(sum.Sum(nil))}); got != want {
		return wrong("%d of %d bytes have arrived, or others", got.Bytes, want.Bytes)
	}
	return nil
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return c.w.Write(p)
}

// dialBy connects to an address of ours, for as long as the operation may take.
func (o *operation) dialBy(address string) (*net.TCPConn, error) {
	dialer := net.Dialer{Deadline: o.deadline()}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(o.deadline())
	return conn.(*net.TCPConn), nil
}

// webSocket exchanges messages.
func (r *rig) webSocket(o *operation) error {
	conn, err := o.dialBy(local(r.port))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	config, err := websocket.NewConfig("ws://"+local(r.port)+"/ws", "http://127.0.0.1")
	if err != nil {
		return err
	}
	first := &firstBytes{Conn: conn}
	ws, err := websocket.NewClient(config, first)
	var status int
	if errors.Is(err, websocket.ErrBadStatus) {
		if _, err := fmt.Sscanf(string(first.got), "HTTP/1.1 %d", &status); err == nil {
			return statusError(status)
		}
	}
	if err != nil {
		return err
	}
	ws.PayloadType = websocket.BinaryFrame
	if err := o.exchange(ws); err != nil {
		return err
	}
	return ws.Close()
}

// firstBytes remembers what a connection's first Read has got.
type firstBytes struct {
	net.Conn
	got []byte
}

func (c *firstBytes) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.got == nil {
		c.got = bytes.Clone(p[:n])
	}
	return n, err
}

// localForward exchanges bytes on a raw connection. Its end must be seen to be
// one.
func (r *rig) localForward(o *operation) error {
	conn, err := o.dialBy(local(r.rawPort))
	if err != nil {
		return err
	}
	return o.exchangeRaw(conn)
}

// endsWell ends one direction, and wants the other to end so as well.
func endsWell(conn interface {
	io.Reader
	CloseWrite() error
},
) error {
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n > 0 {
		return cmpOr(err, wrong("%d bytes after all", n))
	}
	return nil
}

// passthrough does the same with TLS, which Caddy does not end.
func (r *rig) passthrough(o *operation) error {
	conn, err := o.dialBy(local(r.sniPort))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := tls.Client(conn, &tls.Config{ServerName: innerName, RootCAs: r.ca.Pool()})
	if err := o.exchange(client); err != nil {
		if errors.Is(err, io.EOF) && o.moved.Load() {
			return short("a proper end before all had come back")
		}
		return err
	}
	return endsWell(client)
}

// inFlight runs operations of a kind, and waits until each is under way.
func (r *rig) inFlight(k *traffic, n int, lasts time.Duration) (ops []*operation, done func()) {
	r.t.Helper()
	var wg sync.WaitGroup
	for range n {
		o := &operation{lasts: lasts}
		ops = append(ops, o)
		wg.Go(func() { r.operate(k, o) })
	}
	sshtest.Eventually(r.t, patience, k.name+" is under way", func() bool {
		for _, o := range ops {
			if !o.moved.Load() {
				return false
			}
		}
		return true
	})
	return ops, wg.Wait
}
