package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	var conns atomic.Int32
	server := httptest.NewUnstartedServer(newWeb())
	server.Config.ConnState = countNew(&conns)
	server.Start()
	defer server.Close()
	l := load{addr: server.Listener.Addr().String(), path: "/bytes/1024", length: 1024, clients: 3, duration: 100 * time.Millisecond}

	result, err := runLoad(t.Context(), l)
	if err != nil || result.requests < l.clients || result.p50 <= 0 || result.p99 < result.p50 || result.elapsed < l.duration {
		t.Errorf("%+v, %v", result, err)
	}
	if n := conns.Swap(0); n != 3 {
		t.Errorf("3 clients made %d connections", n)
	}

	l.newConns = true
	result, err = runLoad(t.Context(), l)
	if err != nil {
		t.Error(err)
	}
	if n := int(conns.Load()); n != result.requests {
		t.Errorf("%d requests took %d connections, want one for each", result.requests, n)
	}
}

// TestLoadFails is that one bad response among good ones fails all.
func TestLoadFails(t *testing.T) {
	for name, test := range map[string]struct {
		bad  http.HandlerFunc
		want string
	}{
		"status": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusBadGateway) }, "status 502"},
		"length": {func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "short") }, "5 bytes instead of 1024"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1024")
			_, _ = fmt.Fprint(w, "short")
		}, "unexpected EOF"},
		"close": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			_, _ = w.Write(make([]byte, 1024))
		}, "not kept alive"},
	} {
		t.Run(name, func(t *testing.T) {
			var count atomic.Int32
			good := newWeb()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if count.Add(1) == 20 {
					test.bad(w, r)
				} else {
					good.ServeHTTP(w, r)
				}
			}))
			defer server.Close()
			_, err := runLoad(t.Context(), load{
				addr: server.Listener.Addr().String(), path: "/bytes/1024", length: 1024, clients: 2, duration: time.Minute,
			})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestLoadTolerantOfSilence is that a tolerant load counts requests without an answer, and
// goes on.
func TestLoadTolerantOfSilence(t *testing.T) {
	var count atomic.Int32
	good := newWeb()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if count.Add(1) == 2 {
			<-r.Context().Done() // until the client gives up
			return
		}
		good.ServeHTTP(w, r)
	}))
	defer server.Close()
	l := load{addr: server.Listener.Addr().String(), path: "/bytes/1024", length: 1024, clients: 1, duration: time.Second, timeout: 100 * time.Millisecond}
	if _, err := runLoad(t.Context(), l); err == nil {
		t.Error("no error")
	}
	count.Store(0)
	l.tolerant = true
	if result, err := runLoad(t.Context(), l); err != nil || result.requests < 2 || result.refused != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestLoadTolerant is that a tolerant load counts other statuses, and goes on.
func TestLoadTolerant(t *testing.T) {
	var count atomic.Int32
	good := newWeb()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if count.Add(1)%2 == 0 {
			http.Error(w, "", http.StatusGatewayTimeout)
		} else {
			good.ServeHTTP(w, r)
		}
	}))
	defer server.Close()
	result, err := runLoad(t.Context(), load{
		addr: server.Listener.Addr().String(), path: "/bytes/1024", length: 1024, clients: 1, duration: 100 * time.Millisecond, tolerant: true,
	})
	if total := int(count.Load()); err != nil || result.requests != (total+1)/2 || result.refused != total/2 {
		t.Errorf("of %d requests: %+v, %v", total, result, err)
	}
	if share := (loadResult{requests: 3, refused: 1}).refusedShare(); share != 25 {
		t.Errorf("1 of 4 refused is %v %%", share)
	}
}
