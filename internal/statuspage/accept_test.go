package statuspage

import "testing"

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
