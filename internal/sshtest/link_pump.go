package sshtest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// link_pump.go moves the bytes of one direction of one connection of a Link.

const (
	// pumpChunk is the most that is read, and written, at once.
	pumpChunk = 16 << 10
	// pumpQueue is the most that waits in a pump.
	pumpQueue = 1 << 20
	// pumpSlice is for how long one write uses a limited bandwidth, so that
	// the bytes come evenly.
	pumpSlice = 20 * time.Millisecond
)

// chunk is some bytes and when they were read; without bytes, it is the end of
// the stream.
type chunk struct {
	data []byte
	at   time.Time
	turn turn
}

// pump is a queue between two sockets, with one goroutine that fills it and
// one that drains it.
type pump struct {
	src, dst net.Conn
	trips    *trips
	way      Direction

	// mu guards what is below; every change to it signals cond.
	mu        sync.Mutex
	cond      sync.Cond
	queue     []chunk
	queued    int // bytes
	frozen    bool
	delay     time.Duration
	bandwidth int
	segment   int       // the most that is written at once. Zero is all
	free      time.Time // when the bandwidth is free again
	writing   bool
	flip      bool // a bit of what comes next
	moved     int64
	ended     bool // cut or stopped
}

func newPump(src, dst net.Conn, trips *trips, way Direction) *pump {
	p := &pump{src: src, dst: dst, trips: trips, way: way}
	p.cond.L = &p.mu
	return p
}

func (p *pump) bytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved
}

// set changes how the pump works. When it returns, no write is under way that
// began before a freeze.
func (p *pump) set(frozen bool, delay time.Duration, bandwidth, segment int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen, p.delay, p.bandwidth, p.segment = frozen, delay, bandwidth, segment
	p.cond.Broadcast()
	if frozen {
		p.interruptLocked()
	}
}

// interruptLocked makes a write that is under way return, and waits for that.
func (p *pump) interruptLocked() {
	for p.writing {
		_ = p.dst.SetWriteDeadline(time.Unix(1, 0))
		p.cond.Wait()
	}
}

// waitThawed returns when the pump is not frozen, or has ended.
func (p *pump) waitThawed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.frozen && !p.ended {
		p.cond.Wait()
	}
}

// stop makes both goroutines return; the sockets are closed already.
func (p *pump) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.cond.Broadcast()
}

// cut drops the queue, sends the end of the stream and drops what still comes.
func (p *pump) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.queue, p.queued = nil, 0
	p.cond.Broadcast()
	p.interruptLocked()
	closeWrite(p.dst)
}

// corrupt flips a bit of what comes next.
func (p *pump) corrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flip = true
}

// fill reads into the queue while there is room in it. It returns, true if the
// stream has ended properly, when the source has ended or was closed.
func (p *pump) fill() bool {
	buf := make([]byte, pumpChunk)
	for {
		n, err := p.src.Read(buf)
		p.mu.Lock()
		if n > 0 {
			p.pushLocked(append([]byte(nil), buf[:n]...))
		}
		if errors.Is(err, io.EOF) {
			p.pushLocked(nil)
		}
		p.mu.Unlock()
		if err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

func (p *pump) pushLocked(data []byte) {
	for p.queued+len(data) > pumpQueue && !p.ended {
		p.cond.Wait()
	}
	if p.ended {
		return
	}
	if p.flip && len(data) > 0 {
		p.flip = false
		data[len(data)/2] ^= 1
	}
	p.queue = append(p.queue, chunk{data, time.Now(), p.trips.sent(p.way)})
	p.queued += len(data)
	p.cond.Broadcast()
}

// drain writes what is in the queue when it is due. It returns, false if a
// write has failed, when the stream has ended or the pump was cut or stopped.
func (p *pump) drain() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.waitLocked() {
		data := p.queue[0].data
		p.trips.arrives(p.way, p.queue[0].turn)
		if len(data) == 0 {
			closeWrite(p.dst)
			return true
		}
		if p.bandwidth > 0 {
			data = data[:min(len(data), max(1, int(int64(p.bandwidth)*int64(pumpSlice)/int64(time.Second))))]
		}
		if p.segment > 0 {
			data = data[:min(len(data), p.segment)]
		}
		_ = p.dst.SetWriteDeadline(time.Time{})
		p.writing = true
		p.mu.Unlock()
		n, err := p.dst.Write(data)
		p.mu.Lock()
		p.writing = false
		p.tookLocked(n)
		p.cond.Broadcast()
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !p.ended {
			return false
		}
	}
	return true
}

// waitLocked waits until the first chunk may go. It is false when the pump has
// ended.
func (p *pump) waitLocked() bool {
	for !p.ended {
		if p.frozen || len(p.queue) == 0 {
			p.cond.Wait()
			continue
		}
		due := p.queue[0].at.Add(p.delay)
		if p.bandwidth > 0 && p.free.After(due) {
			due = p.free
		}
		left := time.Until(due)
		if left <= 0 {
			return true
		}
		// The lock makes the timer's broadcast come after the wait has begun.
		timer := time.AfterFunc(left, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.cond.Broadcast()
		})
		p.cond.Wait()
		timer.Stop()
	}
	return false
}

// tookLocked removes the first n bytes of the queue.
func (p *pump) tookLocked(n int) {
	p.moved += int64(n)
	if p.bandwidth > 0 {
		start := p.free
		if now := time.Now(); start.Before(now) {
			start = now
		}
		p.free = start.Add(time.Duration(n) * time.Second / time.Duration(p.bandwidth))
	}
	if len(p.queue) == 0 {
		return // cut meanwhile
	}
	p.queued -= n
	first := &p.queue[0]
	if first.data = first.data[n:]; len(first.data) == 0 {
		p.queue = p.queue[1:]
	}
}
