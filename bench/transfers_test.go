package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestTransfers is that transfers of both directions go on until they are
// stopped, and that their bytes are counted.
func TestTransfers(t *testing.T) {
	for _, to := range []direction{down, up} {
		web := newWeb()
		server := httptest.NewServer(web)
		transfers, err := startTransfers(t.Context(), server.Listener.Addr().String(), to, 3)
		if err != nil {
			t.Fatal(to, err)
		}
		if total := transfers.total(); total < 3 {
			t.Errorf("3 transfers %s have moved %d bytes", to, total)
		}
		if err := transfers.err(); err != nil {
			t.Errorf("transfers %s that go on have ended: %v", to, err)
		}
		transfers.stop()
		total := transfers.total()
		server.Close() // waits for the requests
		if transfers.total() != total {
			t.Errorf("transfers %s go on after they were stopped", to)
		}
		if received := web.received.Load(); to == up && (received == 0 || received > total) {
			t.Errorf("the server got %d bytes of %d", received, total)
		}
	}
}

// TestTransfersFail is that a transfer which is refused, or ends, is an error.
func TestTransfersFail(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"refused": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) },
		"ends":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		for _, to := range []direction{down, up} {
			server := httptest.NewServer(handler)
			transfers, err := startTransfers(t.Context(), server.Listener.Addr().String(), to, 2)
			if err == nil { // some bytes went into buffers
				err = <-transfers.failed
				transfers.stop()
			}
			if err == nil || !strings.Contains(err.Error(), "a transfer "+string(to)+" ended early") {
				t.Errorf("%s, %s: %v", name, to, err)
			}
			server.Close()
		}
	}
}
