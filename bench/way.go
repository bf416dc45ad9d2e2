package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// way.go is one of the ways that are compared, from Caddy to the web server.

// variant is the name of a way.
type variant string

const (
	direct variant = "direct" // Caddy connects to the server itself
	tunnel variant = "tunnel" // Caddy's transport is ssh_tunnel
	sshL   variant = "ssh-L"  // Caddy connects to the port of an `ssh -L`
	// sshLGCM is sshL with the cipher that tunnel negotiates, where sshL takes
	// OpenSSH's default: so the ways do not differ by the cipher.
	sshLGCM variant = "ssh-L-gcm"
)

// tunnelCipher is what tunnel negotiates with OpenSSH.
const tunnelCipher = "aes128-gcm@openssh.com"

// sshOptions are those of ssh that differ between variants.
func (v variant) sshOptions() []string {
	if v == sshLGCM {
		return []string{"-c", tunnelCipher}
	}
	return nil
}

// variants are those of a workload that names none, in the order of the first
// round.
var variants = []variant{direct, tunnel, sshL}

// way is Caddy, alone or with ssh and sshd.
type way struct {
	variant variant
	caddy   *process // nil for raw connections without a tunnel
	ssh     *process // nil unless it is sshL or sshLGCM
	sshd    *process // nil if it is direct
	server  string   // the address of the web server
	relay   *relay   // nil without a slow link

	addr      string        // of the site that keeps connections to the server alive
	closeAddr string        // of the one that makes a new one for each request
	admin     *http.Client  // of Caddy's admin endpoint
	ready     time.Duration // from starting Caddy, and ssh, to the first response
}

// startWay starts a way to the web server in Go, and waits until a request has
// gone through it. With a slow link it lies between Caddy, or ssh, and what they
// connect to.
func (s *stage) startWay(ctx context.Context, v variant, slow *linkSpeed) (*way, error) {
	return s.startWayTo(ctx, v, goWeb, slow)
}

// startWayTo is startWay to any upstream.
func (s *stage) startWayTo(ctx context.Context, v variant, to upstream, slow *linkSpeed) (*way, error) {
	w := &way{variant: v, server: s.addrs[to]}
	if err := s.launch(ctx, w, slow); err != nil {
		w.stop()
		return nil, fmt.Errorf("starting %s: %w", v, err)
	}
	return w, nil
}

func (s *stage) launch(ctx context.Context, w *way, slow *linkSpeed) error {
	far := w.server // what lies at the other end of the network
	if w.variant != direct {
		var err error
		if w.sshd, far, err = s.startSSHD(tunings[w.variant].ssh...); err != nil {
			return err
		}
	}
	if slow != nil {
		var err error
		if w.relay, err = startRelay(far, *slow); err != nil {
			return err
		}
		far = w.relay.addr
	}
	upstream, bastion := far, ""
	start := time.Now()
	switch w.variant {
	case sshL, sshLGCM:
		var err error
		if w.ssh, upstream, err = s.startSSH(far, w.server, w.variant.sshOptions()...); err != nil {
			return err
		}
	case direct:
	default:
		upstream, bastion = w.server, far
	}
	if err := s.startCaddy(w, upstream, bastion); err != nil {
		return err
	}
	if err := w.wait(ctx); err != nil {
		return err
	}
	w.ready = time.Since(start)
	return nil
}

// startCaddy starts Caddy in front of an upstream, which is behind a bastion
// unless that is empty, through a tunnel with these options besides the usual ones and
// those of the variant.
func (s *stage) startCaddy(w *way, upstream, bastion string, options ...string) error {
	var ports [2]int
	for i := range ports {
		var err error
		if ports[i], err = sshtest.FreePort(); err != nil {
			return err
		}
	}
	w.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	w.closeAddr = net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[1]))
	if option := tunings[w.variant].option; option != "" {
		options = append(options, option)
	}
	return s.runCaddy(w, s.caddyfile(ports, upstream, bastion, options))
}

// runCaddy starts the way's Caddy with a Caddyfile, in which %s stands for
// global options: those of the admin endpoint.
func (s *stage) runCaddy(w *way, caddyfile string) error {
	socket := s.file("admin.sock")
	w.admin = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	config := s.file("Caddyfile")
	caddyfile = fmt.Sprintf(caddyfile, "admin unix/"+socket+"\n\tpersist_config off")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return err
	}
	cmd := command(s.caddy, "run", "--adapter", "caddyfile", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	cmd.Env = append(cmd.Env, tunings[w.variant].caddy...)
	var err error
	w.caddy, err = s.start("caddy", cmd)
	return err
}

// tunnelBlock is a tunnel to an sshd of ours in a Caddyfile, with options, each
// on a line of its own.
func (s *stage) tunnelBlock(name, bastion string, options ...string) string {
	options = append([]string{
		"identity_file " + filepath.Join(s.dir, "id_ed25519"),
		"known_hosts " + filepath.Join(s.dir, "known_hosts"),
		"host_key_alias bench",
	}, options...)
	return fmt.Sprintf("\t\ttunnel %s %s@%s {\n\t\t\t%s\n\t\t}\n", name, s.user, bastion, strings.Join(options, "\n\t\t\t"))
}

// caddyfile serves the upstream on two ports: with connections to it that are
// kept alive, and with a new one for each request. Nothing else is tuned.
func (s *stage) caddyfile(ports [2]int, upstream, bastion string, options []string) string {
	app, transport := "", "http"
	if bastion != "" {
		transport = "ssh_tunnel bench"
		app = "\tssh_tunnel {\n" + s.tunnelBlock("bench", bastion, options...) + "\t}\n"
	}
	return fmt.Sprintf(`{
	%%s
%s}
http://:%d {
	bind 127.0.0.1
	reverse_proxy %s {
		transport %s
	}
}
http://:%d {
	bind 127.0.0.1
	reverse_proxy %s {
		transport %s {
			keepalive off
		}
	}
}
`, app, ports[0], upstream, transport, ports[1], upstream, transport)
}

// wait returns once a request has been answered. Until ssh listens, Caddy
// answers with an error.
func (w *way) wait(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	var last error
	for deadline := time.Now().Add(startWait); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if last = fetch(ctx, &client, w.url("/bytes/1024"), 1024); last == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, p := range []*process{w.caddy, w.ssh} {
			if p == nil {
				continue
			}
			select {
			case <-p.Exited:
				return p.failed("has ended at once")
			default:
			}
		}
	}
	err := fmt.Errorf("no answer within %v: %w", startWait, last)
	for _, p := range []*process{w.caddy, w.ssh, w.sshd} {
		if p != nil {
			err = errors.Join(err, p.failed("is part of it"))
		}
	}
	return err
}

// url returns the address of a path of the web server, through this way.
func (w *way) url(path string) string { return "http://" + w.addr + path }

// stop ends the way. It is idempotent.
func (w *way) stop() {
	w.caddy.stop()
	w.ssh.stop()
	if w.relay != nil {
		w.relay.close()
	}
	w.sshd.stop()
}

// fetch gets a page, which has to be of that length.
func fetch(ctx context.Context, client *http.Client, url string, length int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	n, err := io.Copy(io.Discard, response.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the body of %s: %w", url, err)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("fetching %s: status %d", url, response.StatusCode)
	case n != length:
		return fmt.Errorf("fetching %s: %d bytes instead of %d", url, n, length)
	}
	return nil
}

// usage is the CPU time that a way has used so far.
type usage struct {
	caddy, ssh, sshd time.Duration
	known            bool // whether /proc tells
}

func (w *way) usage() usage {
	var u usage
	if w.caddy != nil {
		u.caddy, u.known = cpuTime(w.caddy.pid())
	}
	if w.ssh != nil {
		u.ssh, u.known = cpuTime(w.ssh.pid())
	}
	if w.sshd != nil {
		u.sshd, _ = cpuTime(w.sshd.pid())
	}
	return u
}

// addUsage puts into a sample what was used since: the time for each of so many
// units, in terms of scale.
func (w *way) addUsage(to sample, since usage, units float64, scale time.Duration) {
	now := w.usage()
	if !now.known || units <= 0 {
		return
	}
	per := func(d time.Duration) float64 { return float64(d) / float64(scale) / units }
	if w.caddy != nil {
		to[cpuCaddy] = per(now.caddy - since.caddy)
	}
	if w.ssh != nil {
		to[cpuSSH] = per(now.ssh - since.ssh)
	}
	to[cpuClient] = per(now.caddy - since.caddy + now.ssh - since.ssh)
	if w.sshd != nil {
		to[cpuSSHD] = per(now.sshd - since.sshd)
	}
}

// memoryLines are those of a heap profile that tell what lives: objects, and
// the stacks of goroutines.
var memoryLines = regexp.MustCompile(`(?m)^# (?:HeapAlloc = |Stack = )(\d+)`)

// liveMemory returns the bytes in Caddy's heap and stacks after a garbage
// collection.
func (w *way) liveMemory(ctx context.Context) (float64, error) {
	var profile string
	// The first collection leaves what pools hold to the second.
	for range 3 {
		var err error
		if profile, err = w.adminGet(ctx, "/debug/pprof/heap?gc=1&debug=1"); err != nil {
			return 0, err
		}
	}
	return parseMemory(profile)
}

func parseMemory(profile string) (float64, error) {
	matches := memoryLines.FindAllStringSubmatch(profile, -1)
	if len(matches) != 2 {
		return 0, fmt.Errorf("reading Caddy's heap profile: %d lines with figures instead of 2", len(matches))
	}
	var total float64
	for _, match := range matches {
		bytes, err := strconv.ParseFloat(match[1], 64)
		if err != nil {
			return 0, err
		}
		total += bytes
	}
	return total, nil
}

// adminGet fetches a path of Caddy's admin endpoint.
func (w *way) adminGet(ctx context.Context, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1"+path, nil)
	if err != nil {
		return "", err
	}
	response, err := w.admin.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking Caddy's admin endpoint: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var body strings.Builder
	if _, err := io.Copy(&body, response.Body); err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking Caddy's admin endpoint for %s: status %d", path, response.StatusCode)
	}
	return body.String(), nil
}
