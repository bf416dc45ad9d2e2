package adminapi

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// WriteJSON writes an answer, which holds for no longer than this moment. The error is
// that of encoding it; nothing is written then.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the client may be gone
	return nil
}
