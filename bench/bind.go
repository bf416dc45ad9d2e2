package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// bind.go is the workloads of a site that is served from the bastion: visitors
// come through a port of sshd there. Without a tunnel they come to Caddy itself.

// sshR is a port of sshd that an `ssh -R` forwards to Caddy's own.
const sshR variant = "ssh-R"

// bindVariants are the ways to a site.
var bindVariants = []variant{direct, tunnel, sshR}

// bindNames are the titles of these.
var bindNames = map[variant]string{tunnel: "`bind ssh_tunnel/…`", sshR: "`ssh -R`"}

// bindWorkloads returns those with a site on the bastion.
func bindWorkloads(o options) []workload {
	page := func(clients int) load { return load{path: "/bytes/1024", length: 1 << 10, clients: clients} }
	anew := page(8)
	anew.newConns = true
	return []workload{
		bindWorkload("bind-1", fmt.Sprintf("%s, %s", size(1<<10), clients(1)), requestMetrics(), page(1).through),
		bindWorkload("bind-50", fmt.Sprintf("%s, %s", size(1<<10), clients(50)), requestMetrics(), page(50).through),
		bindWorkload("bind-new", fmt.Sprintf("%s, %s, each request anew", size(1<<10), clients(8)), requestMetrics(), anew.through),
		bindWorkload("bind-down", size(o.bulk)+" down", bulkMetrics(), func(ctx context.Context, s *stage, w *way) (sample, error) {
			return s.measureBulk(ctx, w, o.bulk, download)
		}),
		bindWorkload("bind-up", size(o.bulk)+" up", bulkMetrics(), func(ctx context.Context, s *stage, w *way) (sample, error) {
			return s.measureBulk(ctx, w, o.bulk, upload)
		}),
	}
}

// through is measureRequests with this load.
func (l load) through(ctx context.Context, s *stage, w *way) (sample, error) {
	return s.measureRequests(ctx, w, l)
}

func bindWorkload(id, title string, metrics []metric, measure func(context.Context, *stage, *way) (sample, error)) workload {
	return workload{
		id:       id,
		group:    groupBind,
		names:    bindNames,
		title:    "a site on the bastion: " + title,
		variants: bindVariants,
		metrics:  metrics,
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.startBind(ctx, v)
			if err != nil {
				return nil, err
			}
			defer w.stop()
			return measure(ctx, s, w)
		},
	}
}

// startBind starts Caddy with a site, and what leads visitors to it, and warms
// that up.
func (s *stage) startBind(ctx context.Context, v variant) (*way, error) {
	w := &way{variant: v}
	if err := s.begin(ctx, w, s.launchBind(w)); err != nil {
		return nil, fmt.Errorf("starting %s of a site: %w", v, err)
	}
	return w, nil
}

func (s *stage) launchBind(w *way) error {
	var bastion string
	if w.variant != direct {
		var err error
		if w.sshd, bastion, err = s.startSSHD(); err != nil {
			return err
		}
	}
	port, err := sshtest.FreePort() // where visitors come to
	if err != nil {
		return err
	}
	w.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	own := port // where Caddy listens
	if w.variant == sshR {
		if own, err = sshtest.FreePort(); err != nil {
			return err
		}
	}
	if err := s.runCaddy(w, s.bindCaddyfile(w.variant, own, bastion)); err != nil || w.variant != sshR {
		return err
	}
	w.ssh, err = s.runSSH(bastion, "-R", fmt.Sprintf("%s:127.0.0.1:%d", w.addr, own))
	return err
}

// bindCaddyfile is a site on a port of this machine, or of the bastion for
// tunnel, with the web server behind it.
func (s *stage) bindCaddyfile(v variant, port int, bastion string) string {
	app, bind := "", "127.0.0.1"
	if v == tunnel {
		app = "\tssh_tunnel {\n" + s.tunnelBlock("bench", bastion) + "\t}\n"
		bind = "ssh_tunnel/bench"
	}
	return strings.Join([]string{
		"{\n\t%s\n" + app + "}",
		fmt.Sprintf("http://:%d {\n\tbind %s\n\treverse_proxy %s\n}\n", port, bind, s.webAddr),
	}, "\n")
}
