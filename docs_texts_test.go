package sshtunnel

// docs_texts_test.go compares what the manual quotes of logs and errors with the source.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sourceFiles returns the source that runs in Caddy.
func sourceFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.go", "internal/*/*.go", "layer4/*.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			if !strings.HasSuffix(file, "_test.go") && !strings.Contains(file, "sshtest") && !strings.Contains(file, "caddytest") {
				files = append(files, filepath.ToSlash(file))
			}
		}
	}
	return files
}

// TestManualTexts checks that what the manual quotes of errors and logs is in the
// source, around what is left out of it.
func TestManualTexts(t *testing.T) {
	var source strings.Builder
	for _, file := range sourceFiles(t) {
		source.WriteString(readFile(t, file))
	}
	// What other packages say, and what is put together.
	source.WriteString("dial tcp, connect, connection refused, ssh, handshake failed, no answer within connect_timeout, it accepted the connection, but did not answer within connect_timeout, unexpected message type 94, expected one of [31]")
	between := regexp.MustCompile(`[…"(){};:]+`)

	var texts []string
	for _, r := range logMessages.rows(t) {
		texts = append(texts, code(r.cells[1]))
	}
	for _, r := range errorTexts.rows(t) {
		texts = append(texts, codes(r.cells[0])...)
	}
	if len(texts) < 10 {
		t.Fatalf("only %d texts were found", len(texts))
	}
	for _, text := range texts {
		for _, part := range between.Split(text, -1) {
			part = strings.Trim(part, ` ,`)
			if !strings.Contains(source.String(), part) {
				t.Errorf("%q: %q is not in the source", text, part)
			}
		}
	}
}

// TestManualLogMessages checks that the manual has each message that is logged. Those
// about a configuration, when it is loaded, explain themselves.
func TestManualLogMessages(t *testing.T) {
	var documented []string
	for _, r := range logMessages.rows(t) {
		documented = append(documented, codes(r.cells[1])...)
	}
	for _, r := range errorTexts.rows(t) {
		documented = append(documented, codes(r.cells[0])...)
	}
	messages := 0
	for _, name := range sourceFiles(t) {
		if strings.HasPrefix(name, "internal/config/") || strings.HasPrefix(name, "internal/transport/") || strings.HasPrefix(name, "internal/command/") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if message, ok := logged(n); ok {
				messages++
				if !slices.Contains(documented, message) {
					t.Errorf("%s logs %q, which the manual does not have", name, message)
				}
			}
			return true
		})
	}
	if messages < 30 {
		t.Errorf("only %d messages were found", messages)
	}
}

// logged returns the message of a call of a logger, if it is constant.
func logged(n ast.Node) (message string, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false
	}
	args := call.Args
	switch method.Sel.Name {
	case "Log":
		args = args[min(1, len(args)):]
	case "Debug", "Info", "Warn", "Error":
	default:
		return "", false
	}
	if len(args) == 0 {
		return "", false
	}
	text, ok := args[0].(*ast.BasicLit)
	if !ok || text.Kind != token.STRING || method.Sel.Name == "Error" && !strings.Contains(text.Value, " ") {
		return "", false
	}
	message, err := strconv.Unquote(text.Value)
	return message, err == nil
}
