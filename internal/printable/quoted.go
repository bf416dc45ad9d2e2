package printable

import "fmt"

// maxQuoted is how many of a list's texts an error or warning shows.
const maxQuoted = 5

// Quoted returns texts as an error or warning shows them, whoever has written
// them.
func Quoted(texts []string) []string {
	var q []string
	for i, text := range texts {
		if i == maxQuoted {
			return append(q, fmt.Sprintf("%d more", len(texts)-i))
		}
		q = append(q, fmt.Sprintf("%q", Text(text)))
	}
	return q
}
