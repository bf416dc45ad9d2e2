package sshtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// web.go is the private web server; web_handlers.go is what it serves.

// WebOptions say how a Web is served. The zero value is HTTP/1.1 on a free
// loopback port.
type WebOptions struct {
	// Name is how the server calls itself in /hello. Default: "web".
	Name string

	// Listener is where it accepts connections, such as Netns.Listen's.
	// Default: a new one on Listen.
	Listener net.Listener

	// Listen is the address to listen on. Default: "127.0.0.1:0".
	Listen string

	// TLS, if not nil, makes it HTTPS, with HTTP/1.1 and HTTP/2 unless
	// NextProtos says otherwise. It needs Certificates; see CA.Issue.
	TLS *tls.Config

	// H2C lets it speak HTTP/2 without TLS, besides HTTP/1.1.
	H2C bool
}

// Web is a private web server. What it serves is in the documentation of
// WebHandler.
type Web struct {
	server   *http.Server
	cancel   context.CancelFunc // ends the requests being served
	listener net.Listener
	wg       sync.WaitGroup
	requests atomic.Int64
	accepted atomic.Int64
	active   atomic.Int64
}

// ListenWeb starts a web server. It serves until Close.
func ListenWeb(opts WebOptions) (*Web, error) {
	if opts.Name == "" {
		opts.Name = "web"
	}
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	if opts.Listener == nil {
		var err error
		if opts.Listener, err = net.Listen("tcp", opts.Listen); err != nil {
			return nil, fmt.Errorf("starting a web server: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Web{listener: opts.Listener, cancel: cancel}
	handler := WebHandler(opts.Name)
	w.server = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.requests.Add(1)
			w.active.Add(1)
			defer w.active.Add(-1)
			handler.ServeHTTP(rw, r)
		}),
		TLSConfig:   opts.TLS,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				w.accepted.Add(1)
			}
		},
		ReadHeaderTimeout: time.Minute,
		Protocols:         new(http.Protocols),
	}
	w.server.Protocols.SetHTTP1(true)
	w.server.Protocols.SetHTTP2(opts.TLS != nil)
	w.server.Protocols.SetUnencryptedHTTP2(opts.H2C)
	// Returns when the server is closed.
	w.wg.Go(func() {
		if opts.TLS != nil {
			_ = w.server.ServeTLS(w.listener, "", "")
		} else {
			_ = w.server.Serve(w.listener)
		}
	})
	return w, nil
}

// Addr returns the "host:port" that it listens on.
func (w *Web) Addr() string { return w.listener.Addr().String() }

// Requests returns how many requests have come.
func (w *Web) Requests() int { return int(w.requests.Load()) }

// Active returns how many requests are being served.
func (w *Web) Active() int { return int(w.active.Load()) }

// Accepted returns how many connections there have been.
func (w *Web) Accepted() int { return int(w.accepted.Load()) }

// Close ends the server and its connections. It is idempotent.
func (w *Web) Close() error {
	w.cancel()
	err := w.server.Close()
	w.wg.Wait()
	return err
}
