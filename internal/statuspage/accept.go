package statuspage

import (
	"mime"
	"strconv"
	"strings"
)

// prefersJSON reports whether the values of an Accept header name JSON, and do not give
// HTML the same or a higher quality (RFC 9110, section 12.5.1). Wildcards get HTML.
func prefersJSON(accept []string) bool {
	var json, html float64
	for media := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		name, params, err := mime.ParseMediaType(media)
		if err != nil {
			continue
		}
		quality := 1.0
		if q, ok := params["q"]; ok {
			if quality, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch name {
		case "application/json":
			json = max(json, quality)
		case "text/html", "application/xhtml+xml":
			html = max(html, quality)
		}
	}
	return json > html
}
