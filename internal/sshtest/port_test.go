package sshtest

import "testing"

func TestFreePort(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port := NewPort(t)
		if seen[port] {
			t.Fatalf("port %d is given twice", port)
		}
		if port < 1024 || port >= 32768 {
			t.Fatalf("port %d is not below those that the system gives out", port)
		}
		seen[port] = true
	}
}
