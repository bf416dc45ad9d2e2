package statuspage

import (
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"html/template"
	"io"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// pageTemplate is the page. html/template escapes what it shows.
var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	// These two are the project's own files, and stay as they are.
	"style":  func() template.CSS { return template.CSS(pageCSS) }, //nolint:gosec // no data of others
	"script": func() template.JS { return template.JS(pageJS) },    //nolint:gosec // no data of others
}).Parse(pageHTML))

// contentSecurityPolicy lets the page use its own style and script, which it has by their
// hashes, and ask its own server again. The icon is data, for browsers not to look for
// one.
var contentSecurityPolicy = "default-src 'none'; style-src " + hashSource(pageCSS) + "; script-src " + hashSource(pageJS) +
	"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// hashSource allows an inline element with this content.
func hashSource(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// writePage writes the page as HTML.
func writePage(w io.Writer, p page) error { return pageTemplate.Execute(w, p) }
