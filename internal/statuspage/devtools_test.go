//go:build unix

package statuspage

// devtools_test.go drives a headless Chromium, by the Chrome DevTools Protocol.

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// browser is a Chromium with one page.
type browser struct {
	t    *testing.T
	conn *websocket.Conn
	id   int // of the last command
	// complaints are what the console and the security log got.
	complaints []string
}

// newBrowser starts a Chromium that ends with the test.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	program := sshtest.Program(t, "chromium")
	home, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
		"--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0", "--remote-allow-origins=*",
		"--user-data-dir="+home, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home)
	process := sshtest.NewProcess(t, cmd)
	b := &browser{t: t}
	if err := process.WaitFor("open a page", sshtest.Patience, func() bool { return b.connect(home) == nil }); err != nil {
		t.Fatalf("chromium %v: %v", err, b.connect(home))
	}
	t.Cleanup(func() {
		b.call("Browser.close", nil, nil)
		_ = b.conn.Close()
		select {
		case <-process.Exited:
		case <-time.After(sshtest.Patience):
		}
	})
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// connect connects to the page of the browser that has its profile in home.
func (b *browser) connect(home string) error {
	content, err := os.ReadFile(filepath.Join(home, "DevToolsActivePort"))
	if err != nil {
		return err
	}
	port, _, _ := strings.Cut(string(content), "\n")
	response, err := http.Get("http://127.0.0.1:" + port + "/json/list")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var targets []struct{ Type, WebSocketDebuggerURL string }
	if err := json.NewDecoder(response.Body).Decode(&targets); err != nil {
		return err
	}
	for _, target := range targets {
		if target.Type == "page" {
			b.conn, err = websocket.Dial(target.WebSocketDebuggerURL, "", "http://127.0.0.1")
			return err
		}
	}
	return fmt.Errorf("no page among %v", targets)
}

// call sends a command and waits for its result.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	b.id++
	if params == nil {
		params = map[string]any{}
	}
	_ = b.conn.SetDeadline(time.Now().Add(sshtest.Patience))
	if err := websocket.JSON.Send(b.conn, map[string]any{"id": b.id, "method": method, "params": params}); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
	for {
		var message struct {
			ID     int
			Method string
			Params json.RawMessage
			Result json.RawMessage
			Error  json.RawMessage
		}
		if err := websocket.JSON.Receive(b.conn, &message); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		switch message.Method {
		case "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown":
			b.complaints = append(b.complaints, string(message.Params))
		}
		if message.ID != b.id {
			continue
		}
		if message.Error != nil {
			b.t.Fatalf("%s: %s", method, message.Error)
		}
		if result != nil {
			if err := json.Unmarshal(message.Result, result); err != nil {
				b.t.Fatalf("%s: %v in %s", method, err, message.Result)
			}
		}
		return
	}
}

// eval returns what a JavaScript expression is on the page.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	if answer.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, answer.ExceptionDetails)
	}
	return fmt.Sprint(answer.Result.Value)
}

// open opens an address, and waits until the page is there.
func (b *browser) open(address string) {
	b.t.Helper()
	var answer struct{ ErrorText string }
	b.call("Page.navigate", map[string]any{"url": address}, &answer)
	if answer.ErrorText != "" {
		b.t.Fatalf("%s: %s", address, answer.ErrorText)
	}
	b.eventually(`location.href == "`+address+`" && document.readyState == "complete"`, "true")
}

// eventually waits until an expression has a value.
func (b *browser) eventually(expression, want string) {
	b.t.Helper()
	var got string
	defer func() {
		if got != want {
			b.t.Logf("%s is %q", expression, got)
		}
	}()
	sshtest.Eventually(b.t, sshtest.Patience, expression+" is "+want, func() bool {
		got = b.eval(expression)
		return got == want
	})
}

// show makes the window so wide, with a color scheme.
func (b *browser) show(width int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}
