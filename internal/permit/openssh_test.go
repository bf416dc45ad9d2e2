package permit

import (
	"slices"
	"strings"
	"testing"
)

// TestOpenSSH: each pattern has a form for permitopen, which permits all that it does.
func TestOpenSSH(t *testing.T) {
	t.Parallel()
	for patterns, want := range map[string]struct {
		arguments, wider string
		all              bool
	}{
		"web.internal:80":                  {arguments: "web.internal:80"},
		"WEB.internal.:80 10.0.0.5:443":    {arguments: "web.internal.:80 10.0.0.5:443"},
		"[fd00::1]:80":                     {arguments: "[fd00::1]:80"},
		"web.internal:*":                   {arguments: "web.internal:*"},
		"web.internal:8000-8002":           {arguments: "web.internal:8000 web.internal:8001 web.internal:8002"},
		"web.internal:8000-8999":           {arguments: "web.internal:*", wider: "web.internal:8000-8999"},
		"*:80":                             {arguments: "*:80"},
		"*.internal:80":                    {arguments: "*:80", wider: "*.internal:80"},
		"10.0.0.0/8:80 web:1":              {arguments: "*:80 web:1", wider: "10.0.0.0/8:80"},
		"unix//run/web.sock":               {arguments: "[/run/web.sock]:*"},
		"web:1 unix//run/*":                {all: true, wider: "unix//run/*"},
		"*:*":                              {all: true, wider: "*:*"},
		"web:1 *.internal:8000-8999 web:2": {all: true, wider: "*.internal:8000-8999"},
	} {
		list, err := Parse(strings.Fields(patterns))
		if err != nil {
			t.Fatal(err)
		}
		arguments, wider, all := list.OpenSSH()
		if !slices.Equal(arguments, strings.Fields(want.arguments)) || !slices.Equal(wider, strings.Fields(want.wider)) || all != want.all {
			t.Errorf("%s: got %q, wider %q, %t", patterns, arguments, wider, all)
		}
	}
}
