package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// nginx.go is nginx as a second web server. It sends files with sendfile(2),
// and so header and body apart, as most servers of files do. The one in Go
// sends both at once.

// upstream is the name of a web server.
type upstream string

const (
	goWeb      upstream = ""      // web.go
	nginxFiles upstream = "nginx" // files of nginx
)

// wayKey is a way to a web server.
type wayKey struct {
	variant
	upstream
}

// nginxPrefix is in the ids of the workloads whose web server is nginx.
const nginxPrefix = "nginx-"

// upstreamOf returns the web server of the workload with this id.
func upstreamOf(id string) upstream {
	if strings.Contains(id, nginxPrefix) {
		return nginxFiles
	}
	return goWeb
}

// needsNginx is workload.missing for those with nginx.
func needsNginx(s *stage) string {
	if s.nginx == "" {
		return "nginx is not installed"
	}
	return ""
}

// nginxConfig has one worker, as the server in Go would have no more use for
// several cores either: the machine's are shared by all.
const nginxConfig = `daemon off;
worker_processes 1;
%[1]spid %[2]s/nginx.pid;
error_log stderr;
events {
	worker_connections 8192;
}
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000000;
	keepalive_timeout 1h;
	default_type application/octet-stream;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxy;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	server {
		listen 127.0.0.1:%[3]d backlog=4096;
		root %[4]s;
	}
}
`

// startNginx starts nginx if it is installed. It serves /bytes/<count> as web
// does, for the counts that workloads ask for, from memory where there is a
// /dev/shm.
func (s *stage) startNginx() error {
	if s.nginx == "" {
		return nil
	}
	var err error
	if s.shared, err = os.MkdirTemp("/dev/shm", "ssh-tunnel-bench-"); err != nil {
		if s.shared, err = os.MkdirTemp("", "ssh-tunnel-bench-"); err != nil {
			return err
		}
	}
	files := filepath.Join(s.shared, "bytes")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	for _, length := range []int64{1 << 10, s.options.bulk} {
		if err := writeZeros(filepath.Join(files, strconv.FormatInt(length, 10)), length); err != nil {
			return err
		}
	}
	port, err := sshtest.FreePort()
	if err != nil {
		return err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // what it serves is ours alone
	}
	if err := s.write("nginx.conf", fmt.Sprintf(nginxConfig, user, s.dir, port, s.shared)); err != nil {
		return err
	}
	p, err := s.start("nginx", command(s.nginx, "-e", "stderr", "-p", s.dir, "-c", filepath.Join(s.dir, "nginx.conf")))
	if err != nil {
		return err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := waitForPort(p, addr); err != nil {
		return err
	}
	s.addrs[nginxFiles] = addr
	return nil
}

// writeZeros writes a file of so many.
func writeZeros(path string, length int64) error {
	chunk := make([]byte, 1<<20)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	for length > 0 && err == nil {
		n := min(length, int64(len(chunk)))
		_, err = f.Write(chunk[:n])
		length -= n
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// waitForPort waits until a process accepts connections.
func waitForPort(p *process, addr string) error {
	for deadline := time.Now().Add(startWait); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		if !p.Running() {
			return p.failed("has ended at once")
		}
	}
	return p.failed(fmt.Sprintf("did not listen within %v", startWait))
}

// way returns a variant's way to the web server in Go that all workloads share
// that wear nothing out, and starts it if it is not there.
func (s *stage) way(ctx context.Context, v variant) (*way, error) { return s.wayTo(ctx, v, goWeb) }

// wayTo is way to any upstream.
func (s *stage) wayTo(ctx context.Context, v variant, to upstream) (*way, error) {
	key := wayKey{v, to}
	if w, ok := s.ways[key]; ok {
		return w, nil
	}
	w, err := s.startWayTo(ctx, v, to, nil)
	if err == nil {
		s.ways[key] = w
	}
	return w, err
}
