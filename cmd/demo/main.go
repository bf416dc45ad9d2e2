// Command demo shows the whole story on one machine: a private web server, an
// SSH bastion that alone can reach it, and Caddy in front of both. It needs
// nothing but Go and leaves nothing behind:
//
//	go run ./cmd/demo
//
// With -once it fetches the page itself, prints it and ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// main.go is the order of events: what starts, prints and ends when.

func main() {
	once := flag.Bool("once", false, "fetch the page through Caddy, print it and end")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait

	if err := run(ctx, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is the demo. It returns when ctx is done, or once the page was fetched.
func run(ctx context.Context, once bool) (err error) {
	dir, err := os.MkdirTemp("", "ssh-tunnel-demo-")
	if err != nil {
		return fmt.Errorf("making a directory for keys: %w", err)
	}
	defer func() {
		if e := os.RemoveAll(dir); e != nil && err == nil {
			err = fmt.Errorf("removing the keys: %w", e)
		}
	}()

	bastion, err := startBastion(dir)
	if err != nil {
		return err
	}
	ports, err := choosePorts(8080, 8022)
	if err != nil {
		return err
	}
	caddyfile := caddyfileFor(bastion, ports[0], ports[1])
	site, raw := pageURL(ports[0]), pageURL(ports[1])
	fmt.Printf("A private web server, an SSH bastion that alone can reach it, and Caddy\nwith this Caddyfile:\n\n%s\n",
		strings.ReplaceAll(caddyfile, "\t", "    "))
	if err := startCaddy(caddyfile, filepath.Join(dir, "caddy")); err != nil {
		return err
	}
	// Bastion and web server end with the process. Were they closed before,
	// the tunnel, which outlives a configuration for a while, would report
	// that it was lost.
	defer func() {
		if e := caddy.Stop(); e != nil && err == nil {
			err = fmt.Errorf("stopping Caddy: %w", e)
		}
	}()

	if once {
		for _, url := range []string{site, raw} {
			if err := printPage(ctx, url); err != nil {
				return err
			}
		}
		return nil
	}
	fmt.Printf("Open    %s\nor      curl %s    (raw bytes, without Caddy's HTTP)\nCtrl-C  ends it.\n\n", site, raw)
	<-ctx.Done()
	fmt.Println()
	return nil
}

// choosePorts returns the preferred loopback ports, with a free one in the
// place of each that another program listens on.
func choosePorts(preferred ...int) ([]int, error) {
	var ports []int
	for _, port := range preferred {
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: loopback, Port: port})
		if err != nil {
			ln, err = net.ListenTCP("tcp", &net.TCPAddr{IP: loopback})
		}
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		// Held until all are chosen, lest two be the same.
		defer func() { _ = ln.Close() }()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// loopback is where Caddy listens: the demo is for this machine alone.
var loopback = net.IPv4(127, 0, 0, 1)

// pageURL returns the address of what is served on a port.
func pageURL(port int) string {
	return fmt.Sprintf("http://%s:%d/", loopback, port)
}

// printPage fetches a page as a browser would and prints it.
func printPage(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// No proxy of the environment's, and no connection that Caddy would have to
	// wait for when it stops.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading %q: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("fetching %q: %s", url, response.Status)
	}
	fmt.Printf("GET %s\n\n%s\n", url, body)
	return nil
}
