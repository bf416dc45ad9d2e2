//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// requests_test.go makes requests of Caddy's sites.

// url returns the address of a path of the site at c.port.
func (c *caddy) url(path string) string { return fmt.Sprintf("http://127.0.0.1:%d%s", c.port, path) }

// download begins to read a body, however long that takes. The returned function
// returns how many bytes it had.
func (c *caddy) download(path string) (end func() (int64, error)) {
	c.t.Helper()
	response, err := (&http.Client{Transport: c.client.Transport}).Get(c.url(path))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = response.Body.Close() })
	return func() (int64, error) { return io.Copy(io.Discard, response.Body) }
}

// answer is a response that was read to its end.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error // the request failed, or the body was cut
	took    time.Duration
}

func (a answer) String() string {
	return fmt.Sprintf("%d after %v, error %v, %v: %.200q", a.status, a.took, a.err, a.header, a.body)
}

// with returns c for requests by another client.
func (c *caddy) with(transport *http.Transport) *caddy {
	other := *c
	other.client = &http.Client{Transport: transport, Timeout: patience}
	c.t.Cleanup(other.client.CloseIdleConnections)
	return &other
}

// do makes a request of the site. The options may change it.
func (c *caddy) do(method, path string, body io.Reader, options ...func(*http.Request)) (a answer) {
	start := time.Now()
	defer func() { a.took = time.Since(start) }()
	request, err := http.NewRequest(method, c.url(path), body)
	if err != nil {
		return answer{err: err}
	}
	for _, option := range options {
		option(request)
	}
	response, err := c.client.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	return answer{status: response.StatusCode, header: response.Header, trailer: response.Trailer, body: string(content), err: err}
}

func (c *caddy) get(path string) answer { return c.do(http.MethodGet, path, nil) }

// serves reports whether the private web server answers.
func (c *caddy) serves() bool {
	a := c.get("/hello")
	return a.err == nil && a.status == http.StatusOK && a.body == "hello from web\n"
}

// wantServed fails the test unless the private web server answers soon.
func (c *caddy) wantServed() {
	c.t.Helper()
	sshtest.Eventually(c.t, patience, "the private web server answers", c.serves)
}

// open starts a request and returns its response, whose body is not read. It is
// closed when the test ends.
func (c *caddy) open(path string) *http.Response {
	c.t.Helper()
	// Without the client's timeout: it may be a stream.
	response, err := (&http.Client{Transport: c.client.Transport}).Get(c.url(path))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		c.t.Fatalf("%s: %s", path, response.Status)
	}
	return response
}

// stream reads a body that is sshtest.Body, piece by piece.
type stream struct {
	io.Reader
	t    *testing.T
	want io.Reader
}

func newStream(t *testing.T, r io.Reader) *stream { return &stream{r, t, sshtest.Body()} }

func (c *caddy) stream(path string) *stream {
	c.t.Helper()
	return newStream(c.t, c.open(path).Body)
}

// read reads n bytes more and fails the test if they are not as they must be.
func (s *stream) read(n int) {
	s.t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	_, _ = io.ReadFull(s.want, want)
	if _, err := io.ReadFull(s, got); err != nil {
		s.t.Fatalf("stream: %v", err)
	}
	if !bytes.Equal(got, want) {
		s.t.Fatal("stream: bytes were lost, doubled or changed")
	}
}
