package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clocks.go reads how much CPU time the machine, we and others have used.

// allStats returns the processes that /proc shows.
func allStats() (all []stat) {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		if content, err := os.ReadFile(path); err == nil {
			if s, err := parseStat(string(content)); err == nil {
				all = append(all, s)
			}
		}
	}
	return all
}

// readMachine reads the clocks. It is false where /proc does not tell.
func readMachine() (machineTime, bool) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}, false
	}
	t, err := parseMachine(string(content))
	if err != nil {
		return machineTime{}, false
	}
	t.own, t.others = splitTime(allStats(), os.Getpid())
	t.waiting = parsePressure(readFile("/proc/pressure/cpu"))
	t.elapsed = time.Since(processStart)
	return t, true
}

// processStart is when elapsed was zero. A time of the wall could be set.
var processStart = time.Now()

// parseMachine reads the first line of /proc/stat.
func parseMachine(content string) (machineTime, error) {
	line, _, _ := strings.Cut(content, "\n")
	fields := strings.Fields(line)
	// user, nice, system, idle, iowait, irq, softirq, steal. The time of guests,
	// which comes next, is in user and nice too.
	if len(fields) < 9 || fields[0] != "cpu" {
		return machineTime{}, fmt.Errorf("parsing %q: not the line of all processors", line)
	}
	var times [8]time.Duration
	for i := range times {
		ticks, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return machineTime{}, fmt.Errorf("parsing %q: %w", line, err)
		}
		times[i] = time.Duration(ticks) * tick
	}
	t := machineTime{running: times[0] + times[1] + times[2], steal: times[7]}
	for _, part := range times {
		t.total += part
	}
	return t, nil
}

// splitTime returns the CPU time of a process and its descendants, and that of
// all others. What has ended is part of whoever has waited for it. Threads of
// the kernel are neither: they move packets for whoever sends them.
func splitTime(all []stat, pid int) (own, others time.Duration) {
	ours := []int{pid}
	for _, s := range descendantsIn(all, pid, true) {
		ours = append(ours, s.pid)
	}
	for _, s := range all {
		switch {
		case slices.Contains(ours, s.pid):
			own += s.cpu
		case !s.kernel:
			others += s.cpu
		}
	}
	return own, others
}

// parsePressure reads "some avg10=... total=<microseconds>" of
// /proc/pressure/cpu. It is zero if the kernel does not tell.
func parsePressure(content string) time.Duration {
	_, rest, _ := strings.Cut(content, "total=")
	number, _, _ := strings.Cut(rest, "\n")
	microseconds, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(microseconds) * time.Microsecond
}
