package wire

import "sync"

const (
	// idleBuffer is what a stream that nothing comes in on holds: a WebSocket
	// may be quiet for hours, and there may be thousands.
	idleBuffer = 512
	// smallBuffer takes most responses in one piece.
	smallBuffer = 4 << 10
	// pageBuffer takes a page that is written at once, and packetBuffer the largest packet
	// of most servers.
	pageBuffer   = 16 << 10
	packetBuffer = 32 << 10
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
	{pageBuffer, sync.Pool{New: func() any { return newBuffer(pageBuffer) }}},
	{packetBuffer, sync.Pool{New: func() any { return newBuffer(packetBuffer) }}},
	{busyBuffer, sync.Pool{New: func() any { return newBuffer(busyBuffer) }}},
}

func newBuffer(size int) *[]byte {
	b := make([]byte, size)
	return &b
}

// Buffer is a pooled buffer and what is still to be used of it.
type Buffer struct {
	Data []byte
	pool *sync.Pool
	buf  *[]byte
}

// BufferFor returns a pooled buffer for n bytes, or for the most one may have.
func BufferFor(n int) Buffer {
	i := 0
	for i < len(bufferPools)-1 && n > bufferPools[i].size {
		i++
	}
	pool := &bufferPools[i].pool
	buf := pool.Get().(*[]byte)
	return Buffer{Data: (*buf)[:min(n, len(*buf))], pool: pool, buf: buf}
}

func (k *Buffer) Release() {
	if k.buf != nil {
		k.pool.Put(k.buf)
	}
	*k = Buffer{}
}

// ReadSize is how much a stream reads at once. The buffer has to be there
// before it is known what comes, and stays for as long as nothing does.
type ReadSize struct {
	Next  int
	quiet int // reads in a row that an idleBuffer would have done for
}

func NewReadSize() ReadSize { return ReadSize{Next: idleBuffer} }

// Adapt sets next after a read of n bytes.
func (s *ReadSize) Adapt(n int) {
	full := n == s.Next
	s.quiet++
	if n > idleBuffer {
		s.quiet = 0
	}
	switch {
	case full && s.Next == idleBuffer:
		s.Next, s.quiet = smallBuffer, 0
	case full:
		s.Next = busyBuffer
	case s.quiet >= quietReads:
		s.Next = idleBuffer
	case s.Next == busyBuffer && n <= smallBuffer:
		s.Next = smallBuffer
	}
}
