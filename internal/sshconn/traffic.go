package sshconn

import "sync"

// traffic is the open channels of a connection and the bytes that went through all of
// them. Each channel counts its own, so that reads and writes share no counter; they are
// added up when somebody asks, and when the channel ends.
type traffic struct {
	// mu guards the fields below, and what of a channel was counted. It is held across
	// the locks of a channel.
	mu   sync.Mutex
	open map[*Conn]struct{}
	// received and sent are the bytes that were counted.
	received, sent int64
	// lost says that the connection has ended.
	lost bool
}

// begin records a channel.
func (t *traffic) begin(conn *Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[*Conn]struct{})
	}
	t.open[conn] = struct{}{}
	if t.lost {
		conn.lose()
	}
}

// end counts a channel for the last time.
func (t *traffic) end(conn *Conn, about About) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(conn, about)
	delete(t.open, conn)
}

// count adds what has gone through a channel since it was counted last. The caller
// holds mu.
func (t *traffic) count(conn *Conn, about About) {
	received, sent := conn.Stats()
	t.received += received - conn.countedIn
	about.Received.Add(received - conn.countedIn)
	t.sent += sent - conn.countedOut
	about.Sent.Add(sent - conn.countedOut)
	conn.countedIn, conn.countedOut = received, sent
}

// lose tells each channel that the connection has ended.
func (t *traffic) lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = true
	for conn := range t.open {
		conn.lose()
	}
}

// Traffic returns how many bytes have gone through the channels. The tunnel's counts have
// all of them by then.
func (c *Client) Traffic() (received, sent int64) {
	t := &c.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.open {
		t.count(conn, c.about)
	}
	return t.received, t.sent
}
