//go:build linux

package e2e

import (
	"testing"
	"time"
)

func reportMatrix(t *testing.T, path string, rows map[string]*row, took time.Duration) {}
