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
	// caddyfile forwards a port on loopback to a target, through a bastion. It
	// has a %s for further global options.
	caddyfile func(s *stage, port int, bastion, target string) string
}

var localForward = rawKind{
	id:    "raw",
	title: "local_forward",
	caddyfile: func(s *stage, port int, bastion, target string) string {
		return fmt.Sprintf("{\n\t%%s\n\tssh_tunnel {\n%s\t}\n}\n",
			s.tunnelBlock("bench", bastion, fmt.Sprintf("local_forward 127.0.0.1:%d %s", port, target)))
	},
}

var listenerWrapper = rawKind{
	id:    "wrapper",
	title: "listener wrapper",
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

// rawVariants are the ways of raw connections.
var rawVariants = []variant{direct, tunnel, sshL, sshLGCM}

// rawWorkloads returns those of both kinds.
func rawWorkloads(o options) []workload {
	page := load{path: "/bytes/1024", length: 1 << 10}
	with := func(n int, change func(*load)) load {
		l := page
		l.clients = n
		if change != nil {
			change(&l)
		}
		return l
	}
	file := func(l *load) { l.path = "/file/1024" }
	anew := func(l *load) { l.newConns = true }
	return []workload{
		localForward.requests("1", "", with(1, nil)),
		localForward.requests("file-1", ", a file", with(1, file)),
		localForward.requests("50", "", with(50, nil)),
		localForward.requests("new", ", each request anew", with(8, anew)),
		localForward.bulk(down, o.bulk, download),
		localForward.bulk(up, o.bulk, upload),
		// What lies behind the wrapper is the same.
		listenerWrapper.requests("50", "", with(50, nil)),
		listenerWrapper.requests("new", ", each request anew", with(8, anew)),
		listenerWrapper.bulk(down, o.bulk, download),
	}
}

func (k rawKind) requests(id, note string, l load) workload {
	return workload{
		id:       k.id + "-" + id,
		title:    fmt.Sprintf("%s: %s, %s%s", k.title, size(l.length), clients(l.clients), note),
		variants: rawVariants,
		metrics:  requestMetrics(),
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startRaw(ctx, v, k)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			return s.measureRequests(ctx, w, l)
		},
	}
}

func (k rawKind) bulk(to direction, length int64, move func(context.Context, *way, int64) error) workload {
	return workload{
		id:       k.id + "-" + string(to),
		title:    fmt.Sprintf("%s: %s %s", k.title, size(length), to),
		variants: rawVariants,
		metrics:  bulkMetrics(),
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startRaw(ctx, v, k)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			return s.measureBulk(ctx, w, length, move)
		},
	}
}

// startRaw starts a way for raw connections, and warms it up.
func (s *stage) startRaw(ctx context.Context, v variant, k rawKind) (*way, error) {
	w := &way{variant: v, addr: s.webAddr}
	err := s.launchRaw(w, k)
	if w.closeAddr = w.addr; err == nil {
		err = w.wait(ctx)
	}
	if err == nil {
		err = s.warm(ctx, w)
	}
	if err != nil {
		w.stop()
		return nil, fmt.Errorf("starting %s of %s: %w", v, k.title, err)
	}
	return w, nil
}

func (s *stage) launchRaw(w *way, k rawKind) error {
	if w.variant == direct {
		return nil
	}
	var bastion string
	var err error
	if w.sshd, bastion, err = s.startSSHD(); err != nil {
		return err
	}
	if w.variant != tunnel {
		w.ssh, w.addr, err = s.startSSH(bastion, s.webAddr, w.variant.sshOptions()...)
		return err
	}
	port, err := sshtest.FreePort()
	if err != nil {
		return err
	}
	w.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return s.runCaddy(w, k.caddyfile(s, port, bastion, s.webAddr))
}

// warm sends requests that do not count: what is new is slower at first.
func (s *stage) warm(ctx context.Context, w *way) error {
	_, err := runLoad(ctx, load{addr: w.addr, path: "/bytes/1024", length: 1 << 10, clients: 10, duration: min(rawWarm, s.options.duration)})
	return err
}
