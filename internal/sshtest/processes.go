//go:build unix

package sshtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// processes.go looks at the processes of a daemon.

// process is one that runs on this machine, or has run and is not yet reaped.
type process struct {
	pid, parent     int
	zombie, stopped bool // stopped by a signal
}

// processes lists them, from /proc or, where there is none, from ps.
func processes() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		return processesByPS()
	}
	var list []process
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// "<pid> (<name>) <state> <parent> ...", and the name may hold anything.
		end := strings.LastIndexByte(string(stat), ')')
		var p process
		var state string
		if _, err := fmt.Sscan(string(stat[end+1:]), &state, &p.parent); err != nil {
			continue
		}
		p.pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
		p.zombie, p.stopped = state == "Z", state == "T"
		list = append(list, p)
	}
	return list
}

func processesByPS() []process {
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	if err != nil {
		return nil
	}
	var list []process
	for line := range strings.Lines(string(out)) {
		var p process
		var state string
		if _, err := fmt.Sscan(line, &p.pid, &p.parent, &state); err == nil {
			p.zombie, p.stopped = strings.HasPrefix(state, "Z"), strings.HasPrefix(state, "T")
			list = append(list, p)
		}
	}
	return list
}

// descendants returns the processes that pid has forked, and those that they
// have, parents first.
func descendants(pid int) []process {
	list := processes()
	var found []process
	for parents := []int{pid}; len(parents) > 0; parents = parents[1:] {
		for _, p := range list {
			if p.parent == parents[0] && !p.zombie {
				found = append(found, p)
				parents = append(parents, p.pid)
			}
		}
	}
	return found
}

// alive reports whether a process runs, or is stopped.
func alive(pid int) bool {
	return slices.ContainsFunc(processes(), func(p process) bool { return p.pid == pid && !p.zombie })
}

// running reports whether a process runs, and is not stopped.
func running(pid int) bool {
	return slices.ContainsFunc(processes(), func(p process) bool { return p.pid == pid && !p.zombie && !p.stopped })
}
