package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// procfs.go reads what processes have used from /proc. Where there is none,
// there is nothing to read: the figures are left out.

// tick is the unit of CPU time in /proc/<pid>/stat: USER_HZ is 100 on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// kernelThread is PF_KTHREAD of Linux, in the flags of /proc/<pid>/stat.
const kernelThread = 0x00200000

// stat is a process's line in /proc.
type stat struct {
	pid, parent int
	start       uint64        // when it started, in ticks since boot
	zombie      bool          // ended, and not yet waited for
	kernel      bool          // a thread of the kernel's own
	cpu         time.Duration // its own, and that of the children it has waited for
}

// parseStat reads the content of /proc/<pid>/stat.
func parseStat(content string) (stat, error) {
	// "<pid> (<name>) <state> <parent> ...", and the name may hold anything.
	open, end := strings.IndexByte(content, '('), strings.LastIndexByte(content, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("parsing %q: no name in parentheses", content)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(content[:open]))
	if err != nil {
		return stat{}, fmt.Errorf("parsing %q: %w", content, err)
	}
	fields := strings.Fields(content[end+1:])
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("parsing %q: too few fields", content)
	}
	s := stat{pid: pid, zombie: fields[0] == "Z"}
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, fmt.Errorf("parsing %q: %w", content, err)
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("parsing %q: %w", content, err)
		}
		s.cpu += time.Duration(ticks) * tick
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return stat{}, fmt.Errorf("parsing %q: %w", content, err)
	}
	s.kernel = flags&kernelThread != 0
	s.start, err = strconv.ParseUint(fields[19], 10, 64)
	return s, err
}

// readStat reads a process's line. It is false if there is no such process.
func readStat(pid int) (stat, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	s, err := parseStat(string(content))
	return s, err == nil
}

// descendants returns what a process has forked, and what those have.
func descendants(pid int) []stat { return descendantsIn(allStats(), pid, false) }

// descendantsIn is descendants in a list of all processes, with those that have
// ended and were not yet waited for, or without.
func descendantsIn(all []stat, pid int, zombies bool) (found []stat) {
	for parents := []int{pid}; len(parents) > 0; parents = parents[1:] {
		for _, s := range all {
			if s.parent == parents[0] && (zombies || !s.zombie) {
				found = append(found, s)
				parents = append(parents, s.pid)
			}
		}
	}
	return found
}

// stillRunning returns those that have not ended. An id that another process
// has got since is not theirs: the start tells.
func stillRunning(list []stat) []stat {
	return slices.DeleteFunc(list, func(s stat) bool {
		now, ok := readStat(s.pid)
		return !ok || now.zombie || now.start != s.start
	})
}

// cpuTime returns what a process and all that it has forked have used so far.
// It is false where /proc does not tell.
func cpuTime(pid int) (time.Duration, bool) {
	s, ok := readStat(pid)
	if !ok {
		return 0, false
	}
	total := s.cpu
	for _, child := range descendants(pid) {
		total += child.cpu
	}
	return total, true
}

// residentMemory returns a process's VmRSS in bytes. It is false where /proc
// does not tell.
func residentMemory(pid int) (float64, bool) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(content)) {
		var kilobytes float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kilobytes); err == nil {
			return kilobytes * 1024, true
		}
	}
	return 0, false
}
