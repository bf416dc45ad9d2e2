package statuspage

import (
	"strings"
	"testing"
)

func TestPrefersJSON(t *testing.T) {
	t.Parallel()
	for accept, want := range map[string]bool{
		"":                                  false,
		"*/*":                               false,
		"application/*":                     false,
		"application/json":                  true,
		"Application/JSON; charset=utf-8":   true,
		"application/json, text/plain, */*": true,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8":   false,
		"text/html, application/json":                                       false,
		"text/html;q=0.5, application/json":                                 true,
		"text/html, application/json;q=0.9":                                 false,
		"application/json;q=0":                                              false,
		"application/json;q=x":                                              false,
		"application/xhtml+xml, application/json;q=0.9, text/html; q=\"0.1": false,
	} {
		if got := prefersJSON([]string{accept}); got != want {
			t.Errorf("%q: got %v", accept, got)
		}
	}
	if !prefersJSON([]string{"text/html;q=0.1", "application/json"}) {
		t.Error("only the first line of the header counts")
	}
}

// FuzzParseAccept: whatever a client sends, JSON is only for who names it.
func FuzzParseAccept(f *testing.F) {
	f.Add("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json;q=1")
	f.Add("application/json;q=\"", ",;=")
	f.Fuzz(func(t *testing.T, one, two string) {
		if prefersJSON([]string{one, two}) && !strings.Contains(strings.ToLower(one+","+two), "application/json") {
			t.Errorf("%q, %q get JSON", one, two)
		}
	})
}
