package sshtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// webClient speaks to w in the way that it was started.
func webClient(t *testing.T, opts WebOptions, tlsConfig *tls.Config) (*Web, string, *http.Client) {
	t.Helper()
	w := NewWeb(t, opts)
	transport := &http.Transport{TLSClientConfig: tlsConfig, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(!opts.H2C)
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(opts.H2C)
	t.Cleanup(transport.CloseIdleConnections)
	scheme := "http://"
	if opts.TLS != nil {
		scheme = "https://"
	}
	return w, scheme + w.Addr(), &http.Client{Transport: transport}
}

func do(t *testing.T, client *http.Client, method, url string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func TestWebProtocols(t *testing.T) {
	ca := NewCA()
	server := &tls.Config{Certificates: []tls.Certificate{ca.Issue("web.internal")}}
	trusting := &tls.Config{RootCAs: ca.Pool(), ServerName: "web.internal"}
	for name, test := range map[string]struct {
		opts  WebOptions
		proto string
		sni   string
	}{
		"http": {WebOptions{}, "HTTP/1.1", ""},
		"h2c":  {WebOptions{H2C: true}, "HTTP/2.0", ""},
		"tls":  {WebOptions{TLS: server}, "HTTP/2.0", "web.internal"},
	} {
		t.Run(name, func(t *testing.T) {
			w, url, client := webClient(t, test.opts, trusting)
			var got Headers
			response := do(t, client, "PUT", url+"/headers?q=1", strings.NewReader("x"))
			if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if got.Proto != test.proto || got.ServerName != test.sni || got.Method != "PUT" || got.URI != "/headers?q=1" || got.Host != w.Addr() || got.RemoteAddr == "" {
				t.Errorf("%+v", got)
			}
			if w.Requests() != 1 || w.Accepted() != 1 {
				t.Errorf("%d requests on %d connections", w.Requests(), w.Accepted())
			}
		})
	}
}

func TestWebBodies(t *testing.T) {
	_, url, client := webClient(t, WebOptions{Name: "secret"}, nil)
	for _, test := range []struct {
		path   string
		length int64
		close  bool
		size   int
	}{
		{"/size/0", 0, false, 0},
		{"/size/100000", 100000, false, 100000},
		{"/stream/10", -1, false, 10},
		{"/stream/100000", -1, false, 100000},
		{"/stream/100000?close", -1, true, 100000},
		{"/size/10?chunk=5&every=1ms", 10, false, 10},
	} {
		response := do(t, client, "GET", url+test.path, nil)
		got := readAll(t, response.Body)
		want, _ := io.ReadAll(io.LimitReader(Body(), int64(test.size)))
		chunked := len(response.TransferEncoding) > 0
		if response.ContentLength != test.length || response.Close != test.close || got != string(want) || chunked != (test.length < 0 && !test.close) {
			t.Errorf("%s: length %d, close %v, encoding %v, %d bytes", test.path, response.ContentLength, response.Close, response.TransferEncoding, len(got))
		}
	}
	if got := readAll(t, do(t, client, "GET", url+"/hello", nil).Body); got != "hello from secret\n" {
		t.Errorf("/hello: %q", got)
	}
	for path, status := range map[string]int{
		"/status/418": 418, "/status/1": 400, "/size/x": 400, "/size/-1": 400, "/none": 404,
	} {
		if got := do(t, client, "GET", url+path, nil).StatusCode; got != status {
			t.Errorf("%s: %d", path, got)
		}
	}
	start := time.Now()
	response := do(t, client, "GET", url+"/slow", nil)
	if _, err := io.ReadFull(response.Body, make([]byte, 3)); err != nil || time.Since(start) < 200*time.Millisecond {
		t.Errorf("/slow: %v after %v", err, time.Since(start))
	}
}

func TestWebUploads(t *testing.T) {
	_, url, client := webClient(t, WebOptions{}, nil)
	content := strings.Repeat("upload ", 100000)
	hash := sha256.Sum256([]byte(content))
	sum := hex.EncodeToString(hash[:])

	var got Sum
	if err := json.NewDecoder(do(t, client, "POST", url+"/sum", strings.NewReader(content)).Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got != (Sum{int64(len(content)), sum}) {
		t.Errorf("/sum: %+v", got)
	}

	// The echo comes before the request has ended.
	in, out := io.Pipe()
	response := do(t, client, "POST", url+"/echo", in)
	for _, part := range []string{"one", "two"} {
		_, _ = io.WriteString(out, part)
		buf := make([]byte, len(part))
		if _, err := io.ReadFull(response.Body, buf); err != nil || string(buf) != part {
			t.Fatalf("/echo: %q, %v", buf, err)
		}
	}
	_ = out.Close()
	if rest := readAll(t, response.Body); rest != "" {
		t.Errorf("/echo: and then %q", rest)
	}

	if response := do(t, client, "POST", url+"/reject", strings.NewReader(content)); response.StatusCode != http.StatusForbidden {
		t.Errorf("/reject: %s", response.Status)
	}

	r, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/trailers", io.MultiReader(strings.NewReader(content)))
	r.Trailer = http.Header{"X-Mine": {"yes"}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body := readAll(t, response.Body); body != content {
		t.Errorf("/trailers: %d bytes", len(body))
	}
	if response.Trailer.Get("X-Sum") != sum || response.Trailer.Get("X-Echo-X-Mine") != "yes" {
		t.Errorf("/trailers: %v", response.Trailer)
	}
}

func TestWebExpectContinue(t *testing.T) {
	w, url, client := webClient(t, WebOptions{}, nil)
	client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
	r, _ := http.NewRequestWithContext(t.Context(), "POST", url+"/echo", bytes.NewReader([]byte("wait")))
	r.Header.Set("Expect", "100-continue")
	response, err := client.Do(r) // which waits for an hour, or for 100 Continue
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if got := readAll(t, response.Body); got != "wait" {
		t.Errorf("%q", got)
	}
	Eventually(t, Patience, "no request", func() bool { return w.Active() == 0 })
}

func TestWebEvents(t *testing.T) {
	w, url, client := webClient(t, WebOptions{}, nil)
	if got := readAll(t, do(t, client, "GET", url+"/sse?n=2&every=1ms", nil).Body); got != "id: 1\ndata: event 1\n\nid: 2\ndata: event 2\n\n" {
		t.Errorf("%q", got)
	}
	response := do(t, client, "GET", url+"/sse", nil)
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "id: 1\n" {
		t.Errorf("%q, %v", line, err)
	}
	_ = response.Body.Close()
	Eventually(t, Patience, "the handler's end", func() bool { return w.Active() == 0 })
}

func TestWebHangs(t *testing.T) {
	w, url, client := webClient(t, WebOptions{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", url+"/hang", nil)
	if response, err := client.Do(r); err == nil {
		_ = response.Body.Close()
		t.Errorf("it answered %s", response.Status)
	}
	Eventually(t, Patience, "the handler's end", func() bool { return w.Active() == 0 })
}

func TestWebSocket(t *testing.T) {
	w := NewWeb(t, WebOptions{})
	ws, err := websocket.Dial("ws://"+w.Addr()+"/ws", "", "http://"+w.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.Close() }()
	for _, message := range []string{"one", "zwei", string([]byte{0xff, 0})} {
		if err := websocket.Message.Send(ws, message); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := websocket.Message.Receive(ws, &got); err != nil || got != message {
			t.Fatalf("%q, %v", got, err)
		}
	}
	// A hijacked connection ends with the server all the same.
	_ = w.Close()
	_ = ws.SetReadDeadline(time.Now().Add(Patience))
	if err := websocket.Message.Receive(ws, new(string)); err != io.EOF {
		t.Errorf("after Close: %v", err)
	}
}
