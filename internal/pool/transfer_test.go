package pool

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddy-ssh-tunnel/caddy-ssh-tunnel/internal/sshtest"
)

// TestIsTransfer: a transfer goes one way, is fast, and takes about a second.
func TestIsTransfer(t *testing.T) {
	t.Parallel()
	const page, plenty = 100 << 10, 16 << 20
	type look struct{ read, written int64 }
	for _, c := range []struct {
		name  string
		every time.Duration
		looks []look
		want  bool
	}{
		{"nothing", time.Second, []look{{}, {}, {}}, false},
		{"a download", time.Second, []look{{plenty, 200}, {plenty, 0}}, true},
		{"its first second", time.Second, []look{{plenty, 200}}, false},
		{"a download, just before the second look", 950 * time.Millisecond, []look{{plenty, 200}, {plenty, 0}}, true},
		{"an upload", time.Second, []look{{0, plenty}, {0, plenty}}, true},
		{"an upload with its answer", time.Second, []look{{0, plenty}, {300, plenty}}, false},
		{"a download that is over", time.Second, []look{{plenty, 200}, {plenty, 0}, {0, 0}}, false},
		{"one that is followed by a request", time.Second, []look{{plenty, 200}, {plenty, 0}, {page, 200}}, false},
		{"many pages", time.Second, []look{{100 * page, 20000}, {100 * page, 20000}, {100 * page, 20000}}, false},
		{"a slow client", time.Second, []look{{page, 200}, {page, 0}, {page, 0}, {page, 0}}, false},
		{"a slow link", time.Second, []look{{page, 200}, {6 * page, 0}, {6 * page, 0}}, true},
		{"many looks", 10 * time.Millisecond, []look{{page, 200}, {page, 0}, {page, 0}, {page, 0}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			a := activity{since: now, turned: now}
			var total look
			for _, l := range c.looks {
				now = now.Add(c.every)
				total.read, total.written = total.read+l.read, total.written+l.written
				a.look(now, total.read, total.written)
			}
			if got := a.isTransfer(now); got != c.want {
				t.Errorf("%v, %+v", got, a)
			}
		})
	}
}

// TestLeaveToTransfers: requests leave a connection with transfers for one without. If
// there is none, one is added, unless nobody else uses the connection. Streams do not
// care, and one connection stays the requests'.
func TestLeaveToTransfers(t *testing.T) {
	t.Parallel()
	with := func(class Class, transfers int) *member {
		m := newTestMember(class, 5, 0)
		m.transfers = transfers
		return m
	}
	quiet := with(Request, 2)
	quiet.quiet, quiet.held, quiet.channels = 2, 1, 5
	for _, c := range []struct {
		name   string
		max    int
		m      *member
		others []*member
		leaves bool
		grows  bool
	}{
		{name: "no transfers", max: 8, m: with(Request, 0)},
		{name: "alone", max: 8, m: with(Request, 1), grows: true},
		{name: "alone, and no other may be", max: 1, m: with(Request, 4)},
		{name: "nothing but transfers", max: 8, m: with(Request, 5)},
		{name: "quiet channels and a forward", max: 8, m: quiet},
		{name: "beside a calm one", max: 2, m: with(Request, 1), others: []*member{with(Request, 0)}, leaves: true},
		{name: "beside a free one", max: 2, m: with(Request, 1), others: []*member{with(anyClass, 0)}, leaves: true},
		{name: "beside one with transfers", max: 2, m: with(Request, 1), others: []*member{with(Request, 1)}},
		{name: "beside the last for streams", max: 2, m: with(Request, 1), others: []*member{with(Stream, 0)}},
		{name: "beside one for streams", max: 3, m: with(Request, 1), others: []*member{with(Stream, 0)}, grows: true},
		{name: "streams", max: 8, m: with(Stream, 3)},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := crew(1, c.max, append([]*member{c.m}, c.others...)...)
			class, before := c.m.carries, p.generation.Load()
			p.leaveToTransfers()
			if got := c.m.carries != class; got != c.leaves || (p.generation.Load() != before) != c.leaves {
				t.Errorf("left to transfers: %v, generation %d", got, p.generation.Load())
			}
			if _, why := p.wantedClass(); (why != "") != c.grows {
				t.Errorf("growth: %q", why)
			}
			if m, _ := p.place(placementOf(Request)); class == Request && (m != c.m) != c.leaves {
				t.Errorf("a request leaves: %v", m != c.m)
			}
		})
	}
}

// TestDownloadBesideRequests: while a download goes on, requests get a connection of their
// own. When it is over, its connection is free again.
func TestDownloadBesideRequests(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	download := endlessDownload(t, b.Pool)
	small := listen(t, echo)
	request := openOf(t, b.Pool, Request, small)
	roundTrip(t, request)
	m := linkOf(download)
	if linkOf(request) != m {
		t.Fatal("the second request has another connection")
	}
	begun := b.Generation()
	sshtest.Eventually(t, sshtest.Patience, "another connection", func() bool {
		roundTrip(t, request) // or its channel becomes a quiet one
		b.mu.Lock()
		defer b.mu.Unlock()
		left := m.carries == Stream && b.generation.Load() > begun
		if len(b.active()) >= 2 && m.transfers > 0 && !left { // a machine may be too slow for one
			t.Error("the request's channel is not given up at once")
		}
		return left
	})
	_ = request.Close()
	request = openOf(t, b.Pool, Request, small)
	roundTrip(t, request)
	if linkOf(request) == m {
		t.Fatal("the next request has the download's connection")
	}
	_ = download.Close()
	sshtest.Eventually(t, sshtest.Patience, "the download's connection to be free", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return m.carries == anyClass
	})
	if n := b.bastion.Stats().Logins; n != 2 {
		t.Errorf("%d logins", n)
	}
}

// TestLoneDownload: a download that nobody else waits behind needs no other connection.
func TestLoneDownload(t *testing.T) {
	t.Parallel()
	b := newBench(t, quick(), nil)
	download := endlessDownload(t, b.Pool)
	m := linkOf(download)
	sshtest.Eventually(t, sshtest.Patience, "it to be a transfer", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, why := b.wantedClass(); why != "" {
			t.Errorf("another connection is wanted: %s", why)
		}
		return m.transfers == 1
	})
	if n := b.bastion.Stats().Logins; n != 1 {
		t.Errorf("%d logins", n)
	}
}

// endlessDownload goes on until the channel is closed, or the test is over.
func endlessDownload(t *testing.T, p *Pool) *Conn {
	t.Helper()
	c := openOf(t, p, Request, listen(t, func(conn net.Conn) {
		_, _ = io.Copy(conn, sshtest.Body())
		_ = conn.Close()
	}))
	go func() { _, _ = io.Copy(io.Discard, c) }()
	return c
}
