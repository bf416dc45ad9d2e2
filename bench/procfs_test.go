package main

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

func TestParseStat(t *testing.T) {
	// A name with all that makes such lines hard to read.
	line := "4711 (a) b (c) S 12 4711 4711 0 -1 4194560 5203 90 0 0 150 50 30 20 20 0 8 0 987654 1268805632 4012 18446744073709551615"
	got, err := parseStat(line)
	want := stat{pid: 4711, parent: 12, start: 987654, cpu: 2500 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err := parseStat("7 (x) Z 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5"); err != nil || !got.zombie {
		t.Errorf("of a zombie: %+v, %v", got, err)
	}
	if got, err := parseStat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 0 0 0 0 0 5"); err != nil || !got.kernel || got.zombie {
		t.Errorf("of a thread of the kernel: %+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 x", "x (y) S 1", "1 (x) S 1 2 3", "1 (x) S a 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5"} {
		if got, err := parseStat(bad); err == nil {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}

// TestProcess is that a process has its CPU time and memory counted, with what
// it forks, and that stop leaves none of them.
func TestProcess(t *testing.T) {
	sshtest.Takes(t, 5*time.Second)
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc here")
	}
	log := filepath.Join(t.TempDir(), "log")
	p, err := startProcess("sh", command("/bin/sh", "-c", "(while :; do :; done) & echo busy; wait"), log)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	if err := p.waitForLog("busy", time.Minute); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if used, ok := cpuTime(p.pid()); ok && used >= 2*tick {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what the shell has forked uses no CPU time")
		}
	}
	if memory, ok := residentMemory(p.pid()); !ok || memory < 1<<16 {
		t.Errorf("it has %v bytes of memory, %v", memory, ok)
	}
	children := descendants(p.pid())
	if len(children) != 1 {
		t.Fatalf("it has forked %d processes, want 1", len(children))
	}
	p.stop()
	p.stop() // once more does no harm
	for deadline := time.Now().Add(time.Minute); len(stillRunning(children)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what it has forked still runs")
		}
	}
}

// TestStopEnded is that a process that has ended takes nobody along who has got
// its id since.
func TestStopEnded(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	p, err := startProcess("sh", command("/bin/sh", "-c", "exit 0"), log)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited
	child, err := startProcess("sh", command("/bin/sh", "-c", "sleep 60"), log)
	if err != nil {
		t.Fatal(err)
	}
	defer child.stop()
	p.Process.Process.Pid = os.Getpid() // the child is ours
	start := time.Now()
	p.stop()
	if took := time.Since(start); took >= killWait {
		t.Errorf("it took %v, as long as another's child has to end", took)
	}
}

// TestProcessFails is that the error of a program that ends has what it printed.
func TestProcessFails(t *testing.T) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip(err)
	}
	p, err := startProcess("sh", command("/bin/sh", "-c", "echo no such key; exit 1"), filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	err = p.waitForLog("listening", time.Minute)
	if want := "sh has ended at once; the end of its log:\nno such key"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestParseMemory(t *testing.T) {
	got, err := parseMemory("heap profile: 1: 2 [3: 4] @ heap/1048576\n# runtime.MemStats\n# Alloc = 1\n# HeapAlloc = 5000\n# HeapSys = 9\n# Stack = 300 / 400\n# MSpan = 1 / 2\n")
	if err != nil || got != 5300 {
		t.Errorf("got %v, %v; want 5300", got, err)
	}
	if _, err := parseMemory("# HeapAlloc = 1\n"); err == nil {
		t.Error("a profile without stacks has a figure")
	}
}
