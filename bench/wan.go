package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// wan.go are the workloads over a long link, by what they wait for. The figures of
// what is small are in round trips: the time divided by that of one.

const groupWAN = "wan"

// wanProfile is what a long link is like.
type wanProfile struct {
	rtt       time.Duration
	loss      float64 // the share of packets that are lost, each way
	bandwidth float64 // in bytes a second, each way
}

const (
	// wanBandwidth is that of a long link, in bytes a second.
	wanBandwidth = 100e6 / 8
	// wanQueue is the most that waits for it, each way, in time. More is lost.
	wanQueue = 100 * time.Millisecond
	// wanTries is how often a small thing is measured, and wanParallel how many
	// requests are made at once.
	wanTries    = 7
	wanParallel = 20
	// wanSettle is how long a download goes on before a page is asked for beside it.
	wanSettle = 3 * time.Second
)

// wanWorkloads are the group: they take long, and root.
func wanWorkloads(o options) (list []workload) {
	for _, rtt := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
		for _, loss := range []float64{0, 0.005} {
			list = append(list, wan(wanProfile{rtt, loss, wanBandwidth}, o))
		}
	}
	return list
}

func wan(profile wanProfile, o options) workload {
	id, title := fmt.Sprintf("wan-%d", profile.rtt.Milliseconds()), fmt.Sprintf("a link of %v", profile.rtt)
	if profile.loss > 0 {
		id += "-lossy"
		title += fmt.Sprintf(" that loses %g %%", profile.loss*100)
	}
	trips := func(key, title string) metric {
		return metric{Key: key, Title: title, Unit: "RTT", LowerIsBetter: true, InTable: true}
	}
	return workload{
		id: id, group: groupWAN, title: title, isolated: true,
		metrics: []metric{
			trips("cold", "cold start"), trips("warm", "a warm page"), trips("new", "on a new channel"),
			trips("parallel", "20 at once"), trips("post", "a POST after a pause"),
			{Key: "down", Title: "a download", Unit: "MB/s", InTable: true},
			{Key: "up", Title: "an upload", Unit: "MB/s", InTable: true},
			trips("beside", "a page beside a download"), trips("besideLater", "the next ones beside it"),
		},
		missing: func(*stage) string { return missingWAN() },
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			return s.measureWAN(ctx, v, profile, o)
		},
	}
}

// measureWAN measures all of it, one after the other.
func (s *stage) measureWAN(ctx context.Context, v variant, profile wanProfile, o options) (out sample, err error) {
	pause, length := 30*time.Second, int64(16<<20)
	if o.quick {
		pause, length = 2*time.Second, 1<<20
	}
	w, err := s.startWAN(v, profile)
	if err != nil {
		return nil, err
	}
	defer w.close()
	out = sample{}
	note := func(key string, took time.Duration, failed error) {
		out[key] = float64(took) / float64(profile.rtt)
		err = errors.Join(err, failed)
	}
	took, failed := w.cold(ctx)
	note("cold", took, failed)
	for key, addr := range map[string]string{"warm": w.addr, "new": w.closeAddr} {
		took, failed = w.pages(ctx, addr)
		note(key, took, failed)
	}
	took, failed = w.parallel(ctx)
	note("parallel", took, failed)
	if err != nil {
		return nil, err
	}
	sleepUntil(ctx, time.Now().Add(pause))
	start := time.Now()
	failed = upload(ctx, w.way, 1024)
	note("post", time.Since(start), failed)
	bulk, failed := w.bulk(ctx, length)
	if err = errors.Join(err, failed); err != nil {
		return nil, err
	}
	maps.Copy(out, bulk)
	beside, err := startTransfers(ctx, w.addr, down, 1)
	if err != nil {
		return nil, err
	}
	defer beside.stop()
	sleepUntil(ctx, time.Now().Add(wanSettle))
	for _, key := range []string{"beside", "besideLater"} {
		took, failed = w.pages(ctx, w.addr)
		note(key, took, failed)
	}
	select {
	case failed := <-beside.failed:
		err = errors.Join(err, failed)
	default:
	}
	return out, err
}

// wanRig is a way over a long link. ssh is not started before it is cold's turn.
type wanRig struct {
	*way
	rtt      time.Duration
	link     *wanLink
	forward  net.Listener // of direct: to the web server
	startSSH func() (*process, error)
}

// startWAN starts a way up to where the link is used first.
func (s *stage) startWAN(v variant, profile wanProfile) (r *wanRig, err error) {
	r = &wanRig{way: &way{variant: v, server: s.webAddr}, rtt: profile.rtt}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	var port atomic.Int64 // of the server on the link
	if r.link, err = startWANLink(profile, func(p uint16) bool { return int64(p) == port.Load() }); err != nil {
		return r, err
	}
	var server string
	if v == direct {
		if r.forward, err = forwardTo(wanHost.String()+":0", s.webAddr); err != nil {
			return r, err
		}
		server = r.forward.Addr().String()
	} else if r.sshd, server, err = s.startSSHDOn(wanHost.String(), tunings[v].ssh...); err != nil {
		return r, err
	}
	at, err := netip.ParseAddrPort(server)
	if err != nil {
		return r, err
	}
	port.Store(int64(at.Port()))
	far := netip.AddrPortFrom(wanPeer, at.Port()).String()
	upstream, bastion := far, ""
	switch v {
	case direct:
	case sshL, sshLGCM:
		free, err := sshtest.FreePort()
		if err != nil {
			return r, err
		}
		upstream = net.JoinHostPort("127.0.0.1", strconv.Itoa(free))
		r.startSSH = func() (*process, error) {
			return s.runSSH(far, append(v.sshOptions(), "-L", upstream+":"+s.webAddr)...)
		}
	default:
		upstream, bastion = s.webAddr, far
	}
	return r, s.startLazyCaddy(r.way, upstream, bastion)
}

// startLazyCaddy is startCaddy, with a tunnel that connects at the first request.
func (s *stage) startLazyCaddy(w *way, upstream, bastion string) error {
	if err := s.startCaddy(w, upstream, bastion, "lazy"); err != nil {
		return err
	}
	for deadline := time.Now().Add(startWait); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if conn, err := net.Dial("tcp", w.addr); err == nil {
			return conn.Close()
		}
	}
	return w.caddy.failed("did not listen")
}

// cold returns how long the first response takes, the start of ssh included.
func (r *wanRig) cold(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if r.startSSH != nil {
		var err error
		if r.ssh, err = r.startSSH(); err != nil {
			return 0, err
		}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: requestTimeout}
	for {
		err := fetch(ctx, &client, r.url("/bytes/1024"), 1024)
		took := time.Since(start)
		if err == nil || r.ssh == nil || took > startWait || ctx.Err() != nil {
			return took, err
		}
		sleepUntil(ctx, time.Now().Add(time.Millisecond)) // ssh does not listen yet
	}
}

// settle waits until nothing is under way of what has been: sshd holds small packets back
// until those before are acknowledged.
func (r *wanRig) settle(ctx context.Context) { sleepUntil(ctx, time.Now().Add(3*r.rtt)) }

// pages returns the median time of one page after the other.
func (r *wanRig) pages(ctx context.Context, addr string) (time.Duration, error) {
	client := http.Client{Transport: &http.Transport{}, Timeout: requestTimeout}
	defer client.CloseIdleConnections()
	var took []time.Duration
	for range wanTries {
		r.settle(ctx)
		start := time.Now()
		if err := fetch(ctx, &client, "http://"+addr+"/bytes/1024", 1024); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// parallel returns the median time until the last of wanParallel requests at once, each
// on a new channel, is answered.
func (r *wanRig) parallel(ctx context.Context) (time.Duration, error) {
	var took []time.Duration
	for range wanTries {
		r.settle(ctx)
		start := time.Now()
		errs := make(chan error, wanParallel)
		for range wanParallel {
			go func() { errs <- checkPage(ctx, load{addr: r.closeAddr, path: "/bytes/1024", length: 1024}) }()
		}
		var err error
		for range wanParallel {
			err = cmp.Or(err, <-errs)
		}
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// close ends the way and its link.
func (r *wanRig) close() {
	r.stop()
	if r.forward != nil {
		_ = r.forward.Close()
	}
	if r.link != nil {
		r.link.close()
	}
}

// forwardTo relays what comes to an address to another one until the listener is
// closed. A relayed connection ends with its peers.
func forwardTo(listen, target string) (net.Listener, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	go func() { // returns when the listener is closed
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", target)
			if err != nil {
				_ = near.Close()
				continue
			}
			pipe := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
				_ = from.Close()
			}
			go pipe(near, far)
			go pipe(far, near)
		}
	}()
	return listener, nil
}
