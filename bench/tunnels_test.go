package main

import (
	"os"
	"runtime"
	"testing"
)

func TestTunnelSeries(t *testing.T) {
	bytes, series := tunnelSeries("# HELP caddy_ssh_tunnel_state x\ncaddy_ssh_tunnel_state{state=\"up\"} 1\ngo_goroutines 5\ncaddy_ssh_tunnel_channels 2\n")
	if bytes != 37+28 || series != 2 {
		t.Errorf("%d bytes, %d series", bytes, series)
	}
}

func TestMemory(t *testing.T) {
	if kilobytes, ok := parsePss("55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss:     9000 kB\nPss:     1234 kB\nPss_Dirty: 5 kB\n"); !ok || kilobytes != 1234 {
		t.Error(kilobytes, ok)
	}
	if _, ok := parsePss("Rss: 9000 kB\n"); ok {
		t.Error("what is not there is known")
	}
	if memory, ok := proportionalMemory([]int{os.Getpid()}); runtime.GOOS == "linux" && (!ok || memory < 1<<16) {
		t.Errorf("we have %v bytes of memory, %v", memory, ok)
	}
	if _, ok := proportionalMemory(nil); ok {
		t.Error("the memory of no process is known")
	}
}
