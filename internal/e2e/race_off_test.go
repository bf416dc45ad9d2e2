//go:build !race

package e2e

// race_off_test.go is the counterpart of race_on_test.go.

const raceFlag = "-race=false"
