//go:build race

package e2e

// race_on_test.go builds Caddy with the race detector if the tests are.

const raceFlag = "-race=true"
