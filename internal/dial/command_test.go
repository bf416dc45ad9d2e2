package dial

import (
	"fmt"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	d := Dialer{Address: "[::1]:2222", User: "a b", Command: []string{"x", "%h:%p", "%r", "100%%"}}
	argv, err := d.CommandLine()
	if err != nil || fmt.Sprintf("%q", argv) != `["x" "::1:2222" "a b" "100%"]` {
		t.Errorf("got %q, %v", argv, err)
	}
	for arg, want := range map[string]string{"%": "a % at the end", "%x": "unknown token %x"} {
		d.Command = []string{"x", arg}
		if _, err := d.CommandLine(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", arg, err, want)
		}
	}
}
