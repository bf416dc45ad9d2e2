package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// raw.go is the workloads of raw connections: clients speak HTTP with the web
// server itself, and nobody on the way knows. There is no Caddy in front of
// `ssh -L` here, and none without a tunnel.

// rawWarm is the most that a way is warmed up for.
const rawWarm = 500 * time.Millisecond

// rawKind is what forwards raw connections in Caddy.
type rawKind struct {
	id, title string
	names     map[variant]string
	// caddyfile forwards a port on loopback to a target, through a bastion. It
	// has a %s for further global options.
	caddyfile func(s *stage, port int, bastion, target string) string
}

var localForward = rawKind{
	id:    "raw",
	title: "raw",
	names: map[variant]string{tunnel: "`local_forward`"},
	caddyfile: func(s *stage, port int, bastion, target string) string {
		return fmt.Sprintf("{\n\t%%s\n\tssh_tunnel {\n%s\t}\n}\n",
			s.tunnelBlock("bench", bastion, fmt.Sprintf("local_forward 127.0.0.1:%d %s", port, target)))
	},
}

var listenerWrapper = rawKind{
	id:    "wrapper",
	title: "raw",
	names: map[variant]string{tunnel: "listener wrapper"},
	caddyfile: func(s *stage, port int, bastion, target string) string {
		return fmt.Sprintf(`{
	%%s
	ssh_tunnel {
%s	}
	servers 127.0.0.1:%d {
		listener_wrappers {
			ssh_tunnel bench %s
		}
	}
}
http://:%d {
	bind 127.0.0.1
}
`, s.tunnelBlock("bench", bastion), port, target, port)
	},
}

// rawWorkloads returns those of both kinds.
func rawWorkloads(o options) []workload {
	with := func(clients int) load { return load{path: "/bytes/1024", length: 1 << 10, clients: clients} }
	anew := with(8)
	anew.newConns = true
	down := func(ctx context.Context, s *stage, w *way) (sample, error) {
		return s.measureBulk(ctx, w, o.bulk, download)
	}
	up := func(ctx context.Context, s *stage, w *way) (sample, error) {
		return s.measureBulk(ctx, w, o.bulk, upload)
	}
	one, fifty := size(1<<10)+", "+clients(1), size(1<<10)+", "+clients(50)
	anewTitle := size(1<<10) + ", " + clients(8) + ", each request anew"
	return []workload{
		localForward.workload("1", one, goWeb, requestMetrics(), with(1).through),
		localForward.workload("50", fifty, goWeb, requestMetrics(), with(50).through),
		localForward.workload("nginx-1", one+", nginx", nginxFiles, requestMetrics(), with(1).through),
		localForward.workload("nginx-50", fifty+", nginx", nginxFiles, requestMetrics(), with(50).through),
		localForward.workload("new", anewTitle, goWeb, requestMetrics(), anew.through),
		localForward.workload("down", size(o.bulk)+" down", goWeb, bulkMetrics(), down),
		localForward.workload("nginx-down", size(o.bulk)+" down, nginx", nginxFiles, bulkMetrics(), down),
		localForward.workload("up", size(o.bulk)+" up", goWeb, bulkMetrics(), up),
		// What lies behind the wrapper is the same.
		listenerWrapper.workload("50", fifty, goWeb, requestMetrics(), with(50).through),
		listenerWrapper.workload("new", anewTitle, goWeb, requestMetrics(), anew.through),
		listenerWrapper.workload("down", size(o.bulk)+" down", goWeb, bulkMetrics(), down),
	}
}

// workload is one with ways of its own to a web server.
func (k rawKind) workload(id, title string, to upstream, metrics []metric, measure func(context.Context, *stage, *way) (sample, error)) workload {
	w := workload{
		id:       k.id + "-" + id,
		group:    groupRaw,
		names:    k.names,
		title:    k.title + ": " + title,
		variants: withGCM,
		metrics:  metrics,
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startRaw(ctx, v, k, to)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			return measure(ctx, s, w)
		},
	}
	if to == nginxFiles {
		w.missing = needsNginx
	}
	return w
}

// startRaw starts a way for raw connections, and warms it up.
func (s *stage) startRaw(ctx context.Context, v variant, k rawKind, to upstream) (*way, error) {
	w := &way{variant: v, server: s.addrs[to]}
	if err := s.begin(ctx, w, s.launchRaw(w, k)); err != nil {
		return nil, fmt.Errorf("starting %s of %s: %w", v, k.id, err)
	}
	return w, nil
}

// begin waits until a way that was launched, if with no error, serves at its only address,
// and warms it up. After an error it stops the way.
func (s *stage) begin(ctx context.Context, w *way, launched error) error {
	err := launched
	if w.closeAddr = w.addr; err == nil {
		err = w.wait(ctx)
	}
	if err == nil {
		err = s.warm(ctx, w)
	}
	if err != nil {
		w.stop()
	}
	return err
}

func (s *stage) launchRaw(w *way, k rawKind) error {
	if w.addr = w.server; w.variant == direct {
		return nil
	}
	var bastion string
	var err error
	if w.sshd, bastion, err = s.startSSHD(); err != nil {
		return err
	}
	if w.variant != tunnel {
		w.ssh, w.addr, err = s.startSSH(bastion, w.server, w.variant.sshOptions()...)
		return err
	}
	port, err := sshtest.FreePort()
	if err != nil {
		return err
	}
	w.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return s.runCaddy(w, k.caddyfile(s, port, bastion, w.server))
}

// warm sends requests that do not count: what is new is slower at first.
func (s *stage) warm(ctx context.Context, w *way) error {
	_, err := runLoad(ctx, load{addr: w.addr, path: "/bytes/1024", length: 1 << 10, clients: 10, duration: min(rawWarm, s.options.duration)})
	return err
}
