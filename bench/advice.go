package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// advice.go is the workloads of what docs/performance.md advises: a tunnel with its
// defaults, compared with one that has a setting.

const groupAdvice = "advice"

// Variants of tunnel.
const (
	gogc200       variant = "gogc-200"
	gogc400       variant = "gogc-400"
	fourConns     variant = "connections-4"
	chaCha        variant = "chacha20"
	withoutAES    variant = "without-aes"
	chaChaWithout variant = "chacha20-without-aes"
)

// tuning is what a variant of tunnel changes.
type tuning struct {
	option     string   // of the tunnel's block
	caddy, ssh []string // environment variables of Caddy, and of sshd
}

// tunings are those of all variants of tunnel. GODEBUG and OPENSSL_ia32cap make Go and
// OpenSSL do without the processor's instructions for AES and for GCM.
var tunings = map[variant]tuning{
	gogc200:    {caddy: []string{"GOGC=200"}},
	gogc400:    {caddy: []string{"GOGC=400"}},
	fourConns:  {option: "connections 4 4"},
	chaCha:     {option: "ciphers chacha20-poly1305@openssh.com"},
	withoutAES: {caddy: []string{noAESInGo}, ssh: []string{noAESInOpenSSL}},
	chaChaWithout: {
		option: "ciphers chacha20-poly1305@openssh.com",
		caddy:  []string{noAESInGo}, ssh: []string{noAESInOpenSSL},
	},
}

const (
	noAESInGo      = "GODEBUG=cpu.aes=off,cpu.pclmulqdq=off"
	noAESInOpenSSL = "OPENSSL_ia32cap=~0x200000200000000:~0x60000000000"
)

// tuningTitles are what stands for the variants in tables.
var tuningTitles = map[variant]string{
	gogc200: "`GOGC=200`", gogc400: "`GOGC=400`", fourConns: "`connections 4 4`",
	chaCha: "ChaCha20", withoutAES: "no AES instructions", chaChaWithout: "ChaCha20, no AES instructions",
}

// adviceWorkloads are the group.
func adviceWorkloads(o options) []workload {
	fifty := requests("small-50", "", load{path: "/bytes/1024", length: 1 << 10, clients: 50})
	collections := []variant{tunnel, gogc200, gogc400}
	lossy := wan(wanProfile{50 * time.Millisecond, 0.005, wanBandwidth}, o)
	return []workload{
		advice("gogc-50", fifty, collections...),
		advice("gogc-down", bulk("down", "down", o.bulk, download), collections...),
		advice("gogc-memory", memoryOfDownloads(), tunnel, gogc400),
		advice("ciphers", bulk("down", "down", o.bulk, download), tunnel, chaCha, withoutAES, chaChaWithout),
		advice("connections", severalTransfers(4), tunnel, fourConns),
		advice("connections-lossy", lossy, tunnel, fourConns),
	}
}

// advice makes a workload of the group of another one.
func advice(id string, w workload, variants ...variant) workload {
	w.id, w.group, w.variants = groupAdvice+"-"+id, groupAdvice, variants
	return w
}

// severalTransfers is so many downloads at once.
func severalTransfers(count int) workload {
	return workload{
		title:   fmt.Sprintf("%d downloads at once", count),
		metrics: bulkMetrics(),
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.way(ctx, v)
			if err != nil {
				return nil, err
			}
			out, _, err := s.measureTransfers(ctx, w, count)
			return out, err
		},
	}
}

// memoryOfDownloads is how much memory Caddy takes while four downloads go on.
func memoryOfDownloads() workload {
	return workload{
		title:   "4 downloads at once",
		metrics: []metric{{Key: "memory", Title: "memory, and with `GOGC=400`", Unit: "MiB", LowerIsBetter: true, InTable: true}},
		measure: func(ctx context.Context, s *stage, v variant) (sample, error) {
			w, err := s.way(ctx, v)
			if err != nil {
				return nil, err
			}
			_, resident, err := s.measureTransfers(ctx, w, 4)
			return sample{"memory": resident / (1 << 20)}, err
		},
	}
}

// measureTransfers measures so many downloads at once, and in the end the resident
// memory of Caddy.
func (s *stage) measureTransfers(ctx context.Context, w *way, count int) (out sample, resident float64, err error) {
	t, err := startTransfers(ctx, w.addr, down, count)
	if err != nil {
		return nil, 0, err
	}
	defer t.stop()
	before, moved, start := w.usage(), t.total(), time.Now()
	sleepUntil(ctx, start.Add(s.options.duration))
	bytes, elapsed := float64(t.total()-moved), time.Since(start)
	out = sample{"rate": bytes / 1e6 / elapsed.Seconds()}
	w.addUsage(out, before, bytes/1e9, time.Second)
	resident, _ = residentMemory(w.caddy.pid())
	return out, resident, errors.Join(ctx.Err(), t.err())
}
