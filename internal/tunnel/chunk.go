package tunnel

import "sync"

const (
	// idleBuffer is what a stream that nothing comes in on holds: a WebSocket
	// may be quiet for hours, and there may be thousands.
	idleBuffer = 512
	// smallBuffer takes most responses in one piece.
	smallBuffer = 4 << 10
	// busyBuffer is what a stream reads into that has filled a smaller one:
	// large reads cost fewer window adjustments.
	busyBuffer = 64 << 10
	// quietReads is after how many reads in a row that an idleBuffer would have
	// done for a stream gets one.
	quietReads = 8
)

// bufferPools are one for each size, in ascending order.
var bufferPools = [...]struct {
	size int
	pool sync.Pool
}{
	{idleBuffer, sync.Pool{New: func() any { return newBuffer(idleBuffer) }}},
	{smallBuffer, sync.Pool{New: func() any { return newBuffer(smallBuffer) }}},
	{busyBuffer, sync.Pool{New: func() any { return newBuffer(busyBuffer) }}},
}

func newBuffer(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// chunk is a pooled buffer and what is still to be used of it.
type chunk struct {
	data []byte
	pool *sync.Pool
	buf  *[]byte
}

// bufferFor returns a pooled buffer for n bytes, or for the most one may have.
func bufferFor(n int) chunk {
	i := 0
	for i < len(bufferPools)-1 && n > bufferPools[i].size {
		i++
	}
	pool := &bufferPools[i].pool
	buf := pool.Get().(*[]byte)
	return chunk{data: (*buf)[:min(n, len(*buf))], pool: pool, buf: buf}
}

func (k *chunk) release() {
	if k.buf != nil {
		k.pool.Put(k.buf)
	}
	*k = chunk{}
}

// readSize is how much a stream reads at once. The buffer has to be there
// before it is known what comes, and stays for as long as nothing does.
type readSize struct {
	next  int
	quiet int // reads in a row that an idleBuffer would have done for
}

func newReadSize() readSize { return readSize{next: idleBuffer} }

// adapt sets next after a read of n bytes.
func (s *readSize) adapt(n int) {
	full := n == s.next
	s.quiet++
	if n > idleBuffer {
		s.quiet = 0
	}
	switch {
	case full && s.next == idleBuffer:
		s.next, s.quiet = smallBuffer, 0
	case full:
		s.next = busyBuffer
	case s.quiet >= quietReads:
		s.next = idleBuffer
	case s.next == busyBuffer && n <= smallBuffer:
		s.next = smallBuffer
	}
}
