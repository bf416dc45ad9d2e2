package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// environment is where and with what a run was.
type environment struct {
	Date          string `json:"date"`
	CPU           string `json:"cpu"`
	Cores         int    `json:"cores"`
	System        string `json:"system"`
	Kernel        string `json:"kernel"`
	Go            string `json:"go"`
	Caddy         string `json:"caddy"`
	Plugin        string `json:"plugin,omitempty"` // the commit, where Git tells
	OpenSSH       string `json:"openssh"`          // the client
	OpenSSHServer string `json:"openssh_server"`
	Nginx         string `json:"nginx,omitempty"`
}

const unknown = "unknown"

// machine tells a machine from others: the processor, and what of the system
// has a part in the figures that is not ours. The versions of Go, Caddy and
// this module are not: a newer run with those replaces an older one.
func (e environment) machine() string {
	return strings.Join([]string{e.CPU, strconv.Itoa(e.Cores), e.System, e.Kernel, e.OpenSSH, e.OpenSSHServer}, "; ")
}

// environment looks at this machine.
func (s *stage) environment() environment {
	e := environment{
		Date:          time.Now().UTC().Format(time.DateOnly),
		CPU:           firstMatch(`(?m)^model name\s*:\s*(.+)$`, readFile("/proc/cpuinfo")),
		Cores:         runtime.NumCPU(),
		System:        firstMatch(`(?m)^PRETTY_NAME="?([^"\n]+)`, readFile("/etc/os-release")),
		Kernel:        firstMatch(`(\S+)`, readFile("/proc/sys/kernel/osrelease")),
		Go:            strings.TrimPrefix(runtime.Version(), "go"),
		Caddy:         unknown,
		OpenSSH:       openSSHVersion(output(s.ssh, "-V")),
		OpenSSHServer: openSSHVersion(output(s.sshd, "-V")), // some say so in an error
	}
	if s.nginx != "" {
		e.Nginx = firstMatch(`nginx/(\S+)`, output(s.nginx, "-v"))
	}
	e.Plugin = strings.TrimSpace(output("git", "-C", s.root, "describe", "--always", "--dirty", "--abbrev=12"))
	if strings.Contains(e.Plugin, " ") { // an error
		if s.nginx != "" {
			e.Nginx = firstMatch(`nginx/(\S+)`, output(s.nginx, "-v"))
		}
		e.Plugin = ""
	}
	if info, err := buildinfo.ReadFile(s.caddy); err == nil {
		for _, module := range info.Deps {
			if module.Path == "github.com/caddyserver/caddy/v2" {
				e.Caddy = module.Version
			}
		}
	}
	return e
}

// loadGenerator names what runs the loads.
func (s *stage) loadGenerator() string {
	if s.wrk == "" || s.options.duration%time.Second != 0 {
		return "its own, in Go"
	}
	return "wrk " + firstMatch(`^wrk (\S+)`, output(s.wrk, "-v"))
}

// openSSHVersion finds it in what ssh or sshd has printed.
func openSSHVersion(text string) string { return firstMatch(`OpenSSH_([^\s,]+)`, text) }

func readFile(path string) string {
	content, _ := os.ReadFile(path) // without it, it is unknown
	return string(content)
}

// firstMatch returns what the expression's group has found, or unknown.
func firstMatch(expression, text string) string {
	if match := regexp.MustCompile(expression).FindStringSubmatch(text); match != nil {
		return strings.TrimSpace(match[1])
	}
	return unknown
}

// String is the caption of the table.
func (e environment) String() string {
	openssh := "OpenSSH " + e.OpenSSH
	if e.OpenSSHServer != e.OpenSSH {
		openssh += ", its sshd " + e.OpenSSHServer
	}
	text := fmt.Sprintf("%s, %s of %s, %s, Linux %s, Go %s, Caddy %s, %s", e.Date, cores(e.Cores), e.CPU, e.System, e.Kernel, e.Go, e.Caddy, openssh)
	if e.Nginx != "" {
		text += ", nginx " + e.Nginx
	}
	return text
}

// cores writes a number of them.
func cores(n int) string {
	if n == 1 {
		return "1 core"
	}
	return fmt.Sprintf("%d cores", n)
}

// commit is that of the plugin. To write results is a change, too.
func (e environment) commit() string { return strings.TrimSuffix(e.Plugin, "-dirty") }
